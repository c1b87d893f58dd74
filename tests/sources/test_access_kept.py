"""Files are reread every minute; connections last as long as their contents do."""

from pathlib import Path

import pytest
from aiohttp import web

from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.access import AccessFiles, AccessKeeper
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from tests.support.clock import Clock
from tests.support.waiting import until

# Longer than files are used without being reread.
_LATER_SECONDS = 61


class Exporter:
    """An exporter that records the connection of each scrape."""

    def __init__(self) -> None:
        self.connections: list[object] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """A page."""
        self.connections.append(request.transport)
        return web.Response(body=b"", content_type="text/plain")


@pytest.mark.parametrize("changes", [False, True])
async def test_a_connection_lasts_until_the_files_of_tls_change(
    monitor: Monitor,
    tmp_path: Path,
    changes: bool,  # noqa: FBT001 - the case
) -> None:
    """Otherwise a cluster with thousands of nodes would be reconnected every minute."""
    authority, exporter, clock = Authority("exporters"), Exporter(), Clock()
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(authority.bundle)
    keeper = AccessKeeper(AccessFiles(ca_file=ca_file), clock)
    runner = web.ServerRunner(web.Server(exporter))
    await runner.setup()
    try:
        context = context_from_pair(authority.issue(["127.0.0.1"]))
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}/metrics"
        async with Scraper(
            Page,
            timeout=5,
            max_age=0.001,
            max_concurrency=1,
            monitor=monitor,
            access=lambda _: keeper,
        ) as scraper:
            for _ in range(2):
                assert isinstance((await scraper.scrape([url])).outcomes[url], Page)
                await until(lambda: len(scraper) == 0)
                clock.now += _LATER_SECONDS
                if changes:
                    other = Authority("other").bundle
                    ca_file.write_bytes(authority.bundle + other)
    finally:
        await runner.cleanup()
    assert len(exporter.connections) == 2
    assert (exporter.connections[0] is exporter.connections[1]) is not changes


async def test_the_systems_authorities_are_not_loaded_again() -> None:
    """Access without files keeps its TLS context, too."""
    clock = Clock()
    keeper = AccessKeeper(clock=clock)
    first = await keeper.current()
    clock.now += _LATER_SECONDS
    later = await keeper.current()
    assert later is not first
    assert later.tls.context is first.tls.context
