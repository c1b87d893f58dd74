"""Exporters behind TLS and credentials, on real sockets."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from metrics_server.errors import ScrapeError
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.access import Access, AccessFiles, AccessKeeper
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from tests.support.clock import Clock
from tests.support.peers import client_pair

SECRET = "s3cr3t-t0k3n"  # noqa: S105 - a secret to look for where it must not be


class Exporter:
    """An exporter that requires an Authorization header, and records those it receives."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.shown: list[str | None] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """The page, or 401, or a redirect if the path asks for one."""
        self.shown.append(request.headers.get("Authorization"))
        if request.path == "/away":
            return web.Response(status=302, headers={"Location": "/metrics"})
        if self.shown[-1] != self.wanted:
            return web.Response(status=401)
        return web.Response(body=b"", content_type="text/plain")


@asynccontextmanager
async def listening(handler: Exporter, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of an exporter."""
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def scrape(monitor: Monitor, url: str, access: AccessKeeper) -> Page | ScrapeError:
    """The outcome of one scrape."""
    async with Scraper(
        Page, timeout=5, max_age=60, max_concurrency=1, monitor=monitor, access=lambda _: access
    ) as scraper:
        return (await scraper.scrape([url])).outcomes[url]


@pytest.fixture
def authority() -> Authority:
    """The authority that signs for exporters."""
    return Authority("exporters")


@pytest.fixture
def ca_file(tmp_path: Path, authority: Authority) -> Path:
    """Its certificate, in a file."""
    path = tmp_path / "ca.crt"
    path.write_bytes(authority.bundle)
    return path


async def tls(authority: Authority, *names: str) -> ssl.SSLContext:
    """The context of an exporter with these names."""
    return await asyncio.to_thread(context_from_pair, authority.issue(names))


async def test_a_bearer_token_over_tls(
    monitor: Monitor, tmp_path: Path, authority: Authority, ca_file: Path
) -> None:
    """Like kube-rbac-proxy, it requires a token, from a file; its certificate is verified."""
    token = tmp_path / "token"
    token.write_text(f"{SECRET}\n")
    keeper = AccessKeeper(AccessFiles(ca_file=ca_file, bearer_token_file=token))
    async with listening(Exporter(f"Bearer {SECRET}"), await tls(authority, "127.0.0.1")) as url:
        assert isinstance(await scrape(monitor, f"{url}/metrics", keeper), Page)


async def test_a_client_certificate(
    monitor: Monitor, tmp_path: Path, authority: Authority, ca_file: Path
) -> None:
    """An exporter may require a certificate, as with exporter-toolkit: without one, no page."""
    clients = Authority("clients")
    pair = client_pair(clients, "gpu-metrics-server")
    (tmp_path / "tls.crt").write_bytes(pair.certificate)
    (tmp_path / "tls.key").write_bytes(pair.key)
    shown = AccessFiles(
        ca_file=ca_file, cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key"
    )
    context = await tls(authority, "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=clients.bundle.decode())
    exporter = Exporter("")
    async with listening(exporter, context) as url:
        await scrape(monitor, f"{url}/metrics", AccessKeeper(AccessFiles(ca_file=ca_file)))
        assert exporter.shown == []
        await scrape(monitor, f"{url}/metrics", AccessKeeper(shown))
        assert exporter.shown == [None]


async def test_basic_authentication(
    monitor: Monitor, tmp_path: Path, authority: Authority, ca_file: Path
) -> None:
    """The password is in a file, as for dcgm-exporter's web configuration."""
    password = tmp_path / "password"
    password.write_text("pässwörd:with colon\n")
    wanted = base64.b64encode("scraper:pässwörd:with colon".encode()).decode()
    keeper = AccessKeeper(AccessFiles(ca_file=ca_file, username="scraper", password_file=password))
    async with listening(Exporter(f"Basic {wanted}"), await tls(authority, "127.0.0.1")) as url:
        assert isinstance(await scrape(monitor, f"{url}/metrics", keeper), Page)


async def test_a_name_of_its_own(monitor: Monitor, authority: Authority, ca_file: Path) -> None:
    """Exporters are reached by address; serverName is the name in their certificates."""
    async with listening(Exporter(""), await tls(authority, "dcgm.example")) as url:
        named = AccessKeeper(AccessFiles(ca_file=ca_file, server_name="dcgm.example"))
        refused = await scrape(monitor, f"{url}/metrics", named)
        assert isinstance(refused, ScrapeError)
        assert str(refused) == "answered HTTP 401, and exporters has no auth for it"
        unnamed = await scrape(
            monitor, f"{url}/metrics", AccessKeeper(AccessFiles(ca_file=ca_file))
        )
        assert isinstance(unnamed, ScrapeError)
        assert unnamed.reason == "unreachable"


async def test_an_authority_that_is_not_trusted_sees_no_credential(
    monitor: Monitor, tmp_path: Path, authority: Authority, ca_file: Path
) -> None:
    """Another authority's certificate ends the connection before anything is sent."""
    token = tmp_path / "token"
    token.write_text(SECRET)
    exporter = Exporter("")
    keeper = AccessKeeper(AccessFiles(ca_file=ca_file, bearer_token_file=token))
    assert authority.bundle
    async with listening(exporter, await tls(Authority("other"), "127.0.0.1")) as url:
        outcome = await scrape(monitor, f"{url}/metrics", keeper)
    assert isinstance(outcome, ScrapeError)
    assert exporter.shown == []


async def test_a_credential_is_never_sent_in_the_clear(monitor: Monitor, tmp_path: Path) -> None:
    """Over plain HTTP an exporter with credentials is not scraped, in whatever form the URL is."""
    token = tmp_path / "token"
    token.write_text(SECRET)
    exporter = Exporter(f"Bearer {SECRET}")
    keeper = AccessKeeper(AccessFiles(bearer_token_file=token))
    async with listening(exporter) as url:
        for form in (url, url.replace("http:", "HTTP:")):
            outcome = await scrape(monitor, f"{form}/metrics", keeper)
            assert str(outcome) == "was not scraped: exporters.auth would be sent in the clear"
    assert exporter.shown == []


async def test_a_redirect_is_not_followed(
    monitor: Monitor, tmp_path: Path, authority: Authority, ca_file: Path
) -> None:
    """A credential goes only to its own exporter."""
    token = tmp_path / "token"
    token.write_text(SECRET)
    exporter = Exporter(f"Bearer {SECRET}")
    keeper = AccessKeeper(AccessFiles(ca_file=ca_file, bearer_token_file=token))
    async with listening(exporter, await tls(authority, "127.0.0.1")) as url:
        outcome = await scrape(monitor, f"{url}/away", keeper)
    assert str(outcome) == "answered HTTP 302"
    assert len(exporter.shown) == 1


async def test_a_token_that_rotates(
    monitor: Monitor, tmp_path: Path, authority: Authority, ca_file: Path
) -> None:
    """A changed file is read again within a minute, and at once after a 401."""
    token = tmp_path / "token"
    token.write_text("old")
    now = 0.0
    files = AccessFiles(ca_file=ca_file, bearer_token_file=token)
    keeper = AccessKeeper(files, clock=lambda: now)
    exporter = Exporter("Bearer old")
    async with listening(exporter, await tls(authority, "127.0.0.1")) as url:
        await scrape(monitor, f"{url}/metrics", keeper)
        token.write_text("new")
        await scrape(monitor, f"{url}/metrics", keeper)
        now = 61.0
        await scrape(monitor, f"{url}/metrics", keeper)
        token.write_text("newest")
        await scrape(monitor, f"{url}/metrics", keeper)
    assert exporter.shown == ["Bearer old", "Bearer old", "Bearer new", "Bearer newest"]


async def test_a_server_that_always_rejects_a_token_has_it_reread_now_and_then() -> None:
    """A token is not reread at each scrape: exporters with the same access keep connections."""
    clock = Clock()
    keeper = AccessKeeper(clock=clock)
    read: list[Access] = []
    for clock.now in (0.0, 1.0, 4.9, 5.0, 6.0, 10.0):
        keeper.refused()
        read.append(await keeper.current())
    assert [after is before for before, after in pairwise(read)] == [True, True, False, True, False]


async def test_a_missing_file_is_reported_without_content(monitor: Monitor, tmp_path: Path) -> None:
    """The scrape fails with a reason; neither the error nor the log has a secret."""
    broken = tmp_path / "ca.crt"
    broken.write_text(SECRET)
    with capture_logs() as logs:
        for files in (
            AccessFiles(bearer_token_file=tmp_path / "gone"),
            AccessFiles(ca_file=broken),
        ):
            outcome = await scrape(monitor, "http://127.0.0.1:1/", AccessKeeper(files))
            assert isinstance(outcome, ScrapeError)
            assert outcome.reason == "credentials"
            assert SECRET not in f"{outcome} {outcome!r}"
    assert SECRET not in str(logs)
