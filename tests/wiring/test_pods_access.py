"""Credentials for the pods' own pages: which pods get them, and which never do."""

import asyncio
import logging
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from metrics_server.config.file import load_config
from metrics_server.errors import ConfigurationError
from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.certificates import context_from_pair
from metrics_server.wiring.options import ServeOptions
from metrics_server.wiring.server import running
from tests.support.guarded_pages import EPP, QUEUE, SECRET, GuardedPage, serving_pages
from tests.support.harness import Cluster, configuration
from tests.support.waiting import eventually

SENT = f"Bearer {SECRET}"
NAME = "epp.gateway.svc"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """A file with the token."""
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.fixture
def authority() -> Authority:
    """The authority that signs the pods' certificates."""
    return Authority("pages")


@pytest.fixture
def secure(tmp_path: Path, token: Path, authority: Authority) -> dict[str, object]:
    """An entry for pages that are verified with that authority."""
    path = tmp_path / "ca.crt"
    path.write_bytes(authority.bundle)
    return {
        "namespaces": ["gateway"],
        "metrics": ["inference_*"],
        "scheme": "https",
        "tls": {"caFile": str(path), "serverName": NAME},
        "auth": {"bearerTokenFile": str(token)},
    }


def in_the_clear(token: Path) -> dict[str, object]:
    """An entry for pages without TLS."""
    return {
        "namespaces": ["gateway"],
        "metrics": ["inference_*"],
        "auth": {"bearerTokenFile": str(token)},
        "allowHttp": True,
    }


def write(token: Path, text: str) -> None:
    """Rotate a token."""
    token.write_text(text, encoding="utf-8")


async def tls(pair: KeyPair) -> ssl.SSLContext:
    """The context of a page that is served with a pair."""
    return await asyncio.to_thread(context_from_pair, pair)


async def error_of(made: Cluster, namespace: str = "gateway", metric: str = QUEUE) -> str:
    """The error message instead of a value."""
    return (await made.client.metric(namespace, metric, "app=epp")).error().message


async def text_with(made: Cluster, says: str) -> str:
    """The answer, once it contains this."""
    answer = await eventually(
        lambda: made.client.metric("gateway", QUEUE, "app=epp"), lambda one: says in one.text
    )
    return answer.text


async def test_a_token_is_for_the_named_namespaces_and_metrics(token: Path) -> None:
    """A pod in another namespace is not sent it, nor is a pod read for another metric."""
    pages = {
        "gateway/epp": GuardedPage(),
        "tenant/epp": GuardedPage(),
        "gateway-2/epp": GuardedPage(),
    }
    async with serving_pages(pages, [in_the_clear(token)]) as made:
        assert (await made.client.metric("gateway", QUEUE, "app=epp")).item().value == "17"
        for namespace in ("tenant", "gateway-2"):
            message = await error_of(made, namespace)
            assert "answered HTTP 401, and podPages.endpoints has no auth for it" in message
            assert set(pages[f"{namespace}/epp"].shown) == {None}
        assert set(pages["gateway/epp"].shown) == {SENT}
        assert "has no auth for it" in await error_of(made, metric="llm_requests_waiting")
        assert pages["gateway/epp"].shown[-1] is None


async def test_a_page_read_with_a_token_answers_no_other_rule(token: Path) -> None:
    """Even though both rules read the same URL within maxAge."""
    rules = [
        {
            "name": name,
            "source": "pods",
            "readings": [{"family": "llm_d_epp_flow_control_queue_size", "maximum": 1000}],
        }
        for name in ("with_token", "without_token")
    ]
    settings = {"rules": rules, "exporters": {"maxAge": "1m"}}
    entry = {**in_the_clear(token), "metrics": ["with_token"]}
    page = GuardedPage()
    async with serving_pages({"gateway/epp": page}, [entry], settings=settings) as made:
        answer = await made.client.metric("gateway", "with_token", "app=epp")
        assert answer.item().value == "17"
        assert "answered HTTP 401" in await error_of(made, metric="without_token")
        again = await made.client.metric("gateway", "with_token_sum", "app=epp")
        assert again.item().value == "17", "a sum is read where the metric is"
        assert page.shown == [SENT, None]


async def test_a_token_is_not_sent_in_the_clear_without_consent(token: Path) -> None:
    """The pod is not contacted at all; the message names the setting."""
    entry = {**in_the_clear(token), "allowHttp": False}
    page = GuardedPage()
    async with serving_pages({"gateway/epp": page}, [entry]) as made:
        message = await error_of(made)
    assert "was not scraped: podPages.endpoints.0.auth would be sent in the clear" in message
    assert page.shown == []


async def test_a_pod_cannot_choose_plain_http(secure: dict[str, object]) -> None:
    """The entry's scheme overrides the pod's annotation."""
    page = GuardedPage()
    said = {"prometheus.io/scheme": "http"}
    async with serving_pages({"gateway/epp": page}, [secure], annotations=said) as made:
        assert "could not be reached" in await error_of(made)
    assert page.shown == []


async def test_a_token_over_tls(authority: Authority, secure: dict[str, object]) -> None:
    """A pod's certificate is for a name, not its address."""
    page = GuardedPage(await tls(authority.issue([NAME])))
    async with serving_pages({"gateway/epp": page}, [secure]) as made:
        assert (await made.client.metric("gateway", QUEUE, "app=epp")).item().value == "17"
    assert set(page.shown) == {SENT}


async def test_a_page_over_tls_without_a_token(
    authority: Authority, secure: dict[str, object]
) -> None:
    """TLS settings alone may apply to all namespaces; no token is sent."""
    del secure["auth"], secure["namespaces"]
    page = GuardedPage(await tls(authority.issue([NAME])))
    async with serving_pages({"anywhere/epp": page}, [secure]) as made:
        assert "answered HTTP 401" in await error_of(made, "anywhere")
    assert set(page.shown) == {None}


@pytest.mark.parametrize("what", ["authority", "expired", "name"])
async def test_a_certificate_that_does_not_verify(
    authority: Authority, secure: dict[str, object], what: str
) -> None:
    """From another authority, expired, or for another name: the token is not sent."""
    past = datetime.now(UTC) - timedelta(days=2)
    pair = {
        "authority": lambda: Authority("other").issue([NAME]),
        "expired": lambda: authority.issue([NAME], timedelta(days=1), now=past),
        "name": lambda: authority.issue(["epp.tenant.svc", "127.0.0.1"]),
    }[what]()
    page = GuardedPage(await tls(pair))
    async with serving_pages({"gateway/epp": page}, [secure]) as made:
        message = await error_of(made)
    says = {"authority": "unable to get local issuer", "expired": "expired", "name": "mismatch"}
    assert "could not be reached" in message
    assert says[what] in message
    assert page.shown == []


async def test_a_token_that_rotates(
    token: Path, authority: Authority, secure: dict[str, object]
) -> None:
    """After a 401 the file is reread at once, otherwise within a minute."""
    page = GuardedPage(await tls(authority.issue([NAME])))
    async with serving_pages({"gateway/epp": page}, [secure]) as made:
        assert (await made.client.metric("gateway", QUEUE, "app=epp")).item().value == "17"
        page.wanted = "another"
        write(token, "another")
        answer = await eventually(
            lambda: made.client.metric("gateway", QUEUE, "app=epp"),
            lambda one: "Bearer another" in page.shown and one.status == 200,
        )
        assert answer.item().value == "17"


async def test_a_redirect_gets_no_token(authority: Authority, secure: dict[str, object]) -> None:
    """It is not followed, to another address or to the same one."""
    context = await tls(authority.issue([NAME]))
    page, other = GuardedPage(context), GuardedPage(context)
    async with serving_pages({"gateway/epp": page, "tenant/thief": other}, [secure]) as made:
        page.location = f"https://127.0.0.1:{other.port}/metrics"
        assert "answered HTTP 302" in await error_of(made)
        page.location = "/metrics"
        await eventually(lambda: error_of(made), lambda _: len(page.shown) > 1)
    assert other.shown == []


@pytest.mark.slow
async def test_a_token_is_nowhere_to_be_read(
    token: Path, secure: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in errors, logs or metrics, however the scrape fails; nor is a bad file's content."""
    caplog.set_level(logging.DEBUG)
    plain = in_the_clear(token)
    seen: list[str] = []
    with capture_logs() as logs:
        for entry, text in ((plain, EPP), (plain, f"{SECRET} 1\n"), (secure, EPP)):
            page = GuardedPage(text=text)
            write(token, SECRET)
            async with serving_pages({"gateway/epp": page}, [entry]) as made:
                seen.append((await made.client.metric("gateway", QUEUE, "app=epp")).text)
                page.wanted = "another"
                for broken, why in (
                    (f"{SECRET}\n{SECRET}", "(not a token)"),
                    (f"ü{SECRET}", "(UnicodeDecodeError)"),
                    ("", "(not a token)"),
                ):
                    write(token, broken)
                    says = (
                        "could not be reached" if entry is secure else f".auth cannot be used {why}"
                    )
                    seen.append(await text_with(made, says))
                seen.append((await made.client.ask("/metrics")).text)
    assert SECRET not in "".join(seen)
    assert SECRET not in str(logs)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            "{auth: {bearerTokenFile: /t}, scheme: https}",
            "auth needs namespaces: anyone who may create pods in them can get the credentials",
        ),
        (
            "{namespaces: [a], auth: {bearerTokenFile: /t}, scheme: http}",
            "auth would be sent in the clear, because of scheme: http; allowHttp permits it",
        ),
        ("{namespaces: [a], allowHttp: true}", "allowHttp is for credentials, and auth has none"),
        ("{namespaces: [a], auth: {username: u}}", "username and passwordFile must be set toget"),
        ("{namespaces: ['*'], auth: {bearerTokenFile: /t}}", "'*' is not a DNS label"),
        (
            "{metrics: ['llm_?']}",
            "'llm_?' is not the name of a metric such as llm_requests_waiting",
        ),
        ("{metrics: []}", "at least 1 item"),
        ("{port: 1, ports: [2]}", "port and ports are mutually exclusive"),
        ("{ports: [2, 2]}", "ports lists a port twice"),
        ("{ports: [0]}", "greater than or equal to 1"),
    ],
)
def test_entries_that_are_refused(tmp_path: Path, entry: str, says: str) -> None:
    """The message says why."""
    path = tmp_path / "config.yaml"
    path.write_text(f"podPages: {{endpoints: [{entry}]}}")
    with pytest.raises(ConfigurationError) as raised:
        load_config(path)
    assert "podPages.endpoints.0" in str(raised.value)
    assert says in str(raised.value)


async def test_a_metric_that_there_is_not(token: Path) -> None:
    """A typo would leave the pages without their token; GPU metrics are not read this way."""
    for name in ("inference_queue_sise", "gpu_*"):
        entry = {**in_the_clear(token), "metrics": [QUEUE, name]}
        config = configuration({"podPages": {"endpoints": [entry]}})
        with pytest.raises(
            ConfigurationError, match=r"endpoints\.0\.metrics: no rule .* is called"
        ):
            async with running(ServeOptions(), config):
                pass
