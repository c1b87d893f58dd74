"""A source of measurements with a test's exporters."""

from collections.abc import AsyncIterator, Iterable

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpRawServer

from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.exporters.targets import Targets
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor
from tests.support.collecting import RULE, Collect, Serve


@pytest.fixture
def scraped() -> list[str]:
    """The scraped ports, in order."""
    return []


@pytest.fixture
async def serve(aiohttp_raw_server: AiohttpRawServer, scraped: list[str]) -> Serve:
    """Starts an exporter with this page and returns its URL."""

    async def start(page: bytes) -> str:
        async def answer(request: web.BaseRequest) -> web.Response:
            scraped.append(f"http://{request.host}/metrics")
            return web.Response(body=page, content_type="text/plain", charset="utf-8")

        server = await aiohttp_raw_server(answer)
        return str(server.make_url("/metrics"))

    return start


@pytest.fixture
async def collect(monitor: Monitor) -> AsyncIterator[Collect]:
    """Measures pods with the rule for gpu_utilization."""
    async with Scraper(Page, timeout=5, max_age=60, max_concurrency=8, monitor=monitor) as scraper:

        async def measure(targets: Targets, pods: Iterable[Pod]) -> Collection:
            return await ExporterSource(targets, scraper).collect(RULE, tuple(pods))

        yield measure
