"""Scrapes of pages that will soon be needed, on real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from metrics_server.errors import ScrapeError
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor
from tests.support.clock import Clock
from tests.support.exporters import PageExporter
from tests.support.waiting import until

MAX_AGE = 60
PAGE = 'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",namespace="n",pod="p"} 42\n'


@pytest.fixture
def clock() -> Clock:
    """A clock at 1000."""
    return Clock(1000)


@pytest.fixture
async def scraper(monitor: Monitor, clock: Clock) -> AsyncIterator[Scraper[Page]]:
    """A scraper with that clock, which waits longer than any machine is busy."""
    async with Scraper(
        Page, timeout=60, max_age=MAX_AGE, max_concurrency=64, monitor=monitor, clock=clock
    ) as one:
        yield one


@pytest.fixture
async def hurried(monitor: Monitor) -> AsyncIterator[Scraper[Page]]:
    """A scraper that gives up its place after a quarter of a second, and remembers nothing."""
    async with Scraper(Page, timeout=1, max_age=0.001, max_concurrency=64, monitor=monitor) as one:
        yield one


@pytest.fixture
async def exporters() -> AsyncIterator[list[PageExporter]]:
    """More exporters than are scraped at once."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(PageExporter(PAGE)) for _ in range(20)]


async def test_only_a_page_that_would_expire_is_scraped_again(
    scraper: Scraper[Page], exporters: list[PageExporter], clock: Clock
) -> None:
    """A question at that time then needs no scrape."""
    one = exporters[0]
    began = clock()
    await scraper.scrape([one.url])
    clock.advance(MAX_AGE - 1)
    assert (await scraper.scrape_ahead([one.url], began + MAX_AGE)).begun == 0
    assert (await scraper.scrape_ahead([one.url], began + MAX_AGE + 1)).begun == 1
    clock.advance(1)
    page = (await scraper.scrape([one.url])).outcomes[one.url]
    assert isinstance(page, Page)
    assert page.timestamp == began + MAX_AGE - 1
    assert one.scrapes == 2


async def test_a_scrape_under_way_is_shared(
    scraper: Scraper[Page], exporters: list[PageExporter]
) -> None:
    """A question in the meantime waits for it, and starts no other."""
    one = exporters[0]
    one.may_answer.clear()
    ahead = asyncio.create_task(scraper.scrape_ahead([one.url], 2000))
    await until(lambda: one.scrapes == 1)
    asked = asyncio.create_task(scraper.scrape([one.url]))
    again = asyncio.create_task(scraper.scrape_ahead([one.url], 2000))
    await asyncio.sleep(0)
    one.may_answer.set()
    assert isinstance((await asked).outcomes[one.url], Page)
    assert ((await ahead).begun, (await again).begun) == (1, 0)
    assert one.scrapes == 1


async def test_each_page_expires_by_its_own_time(monitor: Monitor) -> None:
    """A page scraped ahead is not dropped with the one it replaced."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    async with (
        PageExporter(PAGE) as one,
        Scraper(Page, timeout=5, max_age=0.1, max_concurrency=8, monitor=monitor) as scraper,
    ):
        await scraper.scrape([one.url])
        await scraper.scrape_ahead([one.url], time.monotonic() + 1)
        assert one.scrapes == 2
        replaced = time.monotonic()
        await until(lambda: time.monotonic() > replaced + 0.2)
        assert len(scraper) == 0
    assert not faults


async def test_a_few_at_a_time(scraper: Scraper[Page], exporters: list[PageExporter]) -> None:
    """Many pages do not cause a burst."""
    for one in exporters:
        one.may_answer.clear()
    ahead = asyncio.create_task(scraper.scrape_ahead([one.url for one in exporters], 2000))
    await until(lambda: sum(one.scrapes for one in exporters) == 8)
    await asyncio.sleep(0)
    assert sum(one.scrapes for one in exporters) == 8
    for one in exporters:
        one.may_answer.set()
    scrapes = await ahead
    assert scrapes.begun == len(scrapes.outcomes) == len(exporters)


@pytest.mark.slow
async def test_one_that_hangs_holds_up_no_other(
    hurried: Scraper[Page], exporters: list[PageExporter]
) -> None:
    """A hanging exporter is left to the question, and comes after all others from then on."""
    exporters[0].may_answer.clear()
    urls = [one.url for one in exporters]
    scrapes = await hurried.scrape_ahead(urls, time.monotonic())
    assert scrapes.outcomes.keys() == set(urls[1:])
    outcome = (await hurried.scrape([urls[0]])).outcomes[urls[0]]
    assert isinstance(outcome, ScrapeError)
    assert outcome.reason == "timeout"
    await until(lambda: len(hurried) == 0)
    again = asyncio.create_task(hurried.scrape_ahead(urls, time.monotonic()))
    await until(lambda: exporters[0].scrapes == 2)
    assert all(one.scrapes == 2 for one in exporters)
    await again
