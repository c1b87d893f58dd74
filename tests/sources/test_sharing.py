"""One GPU shared by thousands of pods."""

import time
from collections.abc import Iterable, Mapping

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpRawServer

from metrics_server.kube.pods import Pod
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.pages.parsing import Parser
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor

_SHARERS = 6_000


class OneExporter:
    """The only exporter."""

    def __init__(self, url: str) -> None:
        self._url = url

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The exporter, for each node."""
        return dict.fromkeys(nodes, (self._url,))


@pytest.mark.slow
async def test_time_is_linear_in_the_pods_that_share_a_gpu(
    monitor: Monitor, aiohttp_raw_server: AiohttpRawServer
) -> None:
    """Whether all sharers were asked about is determined once, not for each of them."""
    family = "DCGM_FI_DEV_GPU_UTIL"
    page = "".join(
        f'{family}{{gpu="0",UUID="GPU-0",namespace="n",pod="p{i}"}} 5\n' for i in range(_SHARERS)
    )

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(text=page)

    url = str((await aiohttp_raw_server(answer)).make_url("/metrics"))
    rule = MetricRule(
        name="gpu_utilization",
        help="of the test",
        unit="percent",
        readings=(Reading(family, 0, 100),),
        maximum=100,
    )
    pods = [
        Pod("n", f"p{i}", {}, "node", "Running", ready=True, terminating=False, gpus=1)
        for i in range(_SHARERS)
    ]
    async with Scraper(Page, timeout=30, max_age=60, max_concurrency=1, monitor=monitor) as scraper:
        source = ExporterSource(OneExporter(url), scraper, parser=Parser(patience=60))
        # It once took a second for 1,600 of them, and quadratically more for more.
        for asked, shared in ((pods, False), (pods[:-1], True)):
            began = time.thread_time()
            collection = await source.collect(rule, asked)
            assert time.thread_time() - began < 3
            assert len(collection.samples) == len(asked)
            assert {one.shared for one in collection.samples} == {shared}
