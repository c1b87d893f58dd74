"""A terminating pod counts as long as it does for the HPA."""

import asyncio

import pytest
from aiohttp import web
from msgspec import structs
from pytest_aiohttp import AiohttpRawServer

from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.exporters.targets import StaticTargets
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor

RULE = MetricRule(
    name="gpu_utilization",
    help="of the test",
    unit="percent",
    readings=(Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100),),
    maximum=100,
)
STAYS = Pod("default", "stays", {}, "n1", "Running", ready=True, terminating=False, gpus=1)
DRAINS = structs.replace(STAYS, name="drains", terminating=True)
BUSY = 'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="A",namespace="default",pod="stays"} 50\n'
FREE = 'DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="B"} 0\n'
STILL = 'DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="B",namespace="default",pod="drains"} 30\n'
GARBAGE = 'DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="B",namespace="default",pod="drains"} 4e9\n'


async def collect(
    serve: AiohttpRawServer, monitor: Monitor, page: str, status: int = 200
) -> Collection:
    """The values of both pods from a node with this page."""

    async def answer(_: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0)
        return web.Response(text=page, status=status)

    server = await serve(answer)
    async with Scraper(Page, timeout=5, max_age=60, max_concurrency=8, monitor=monitor) as scraper:
        source = ExporterSource(StaticTargets([str(server.make_url("/metrics"))]), scraper)
        return await source.collect(RULE, [STAYS, DRAINS])


@pytest.mark.parametrize(
    ("page", "gpus", "drained"),
    [
        (BUSY + FREE, {"stays": (50,)}, 1),
        (BUSY, {"stays": (50,)}, 1),
        (FREE, {}, 1),
        (BUSY + STILL, {"stays": (50,), "drains": (30,)}, 0),
        (BUSY + GARBAGE, {"stays": (50,)}, 0),
        ("", {}, 0),
        ("go_goroutines 7\n", {}, 0),
    ],
    ids=["free", "gone", "only free", "still named", "unbelieved", "empty page", "no GPU on it"],
)
async def test_a_page_that_no_longer_names_it(
    aiohttp_raw_server: AiohttpRawServer,
    monitor: Monitor,
    page: str,
    gpus: dict[str, tuple[float, ...]],
    drained: int,
) -> None:
    """The pod has returned its GPU; garbage does not prove that. The other pod is never drained."""
    found = await collect(aiohttp_raw_server, monitor, page)
    assert {sample.pod: sample.gpus for sample in found.samples} == gpus
    assert (found.selected, len(found.drained)) == (2, drained)
    assert bool(found.gaps) == (len(gpus) + drained < 2)


async def test_an_exporter_that_fails_does_not(
    aiohttp_raw_server: AiohttpRawServer, monitor: Monitor
) -> None:
    """Without a page nothing is known: the pod is missing."""
    found = await collect(aiohttp_raw_server, monitor, BUSY, status=500)
    assert (found.samples, found.selected, found.drained) == ((), 2, ())
