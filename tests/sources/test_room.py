"""Many exporters' long pages at once: their memory is bounded, and ordinary pages are read."""

from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pytest_aiohttp import AiohttpRawServer

from metrics_server.errors import ScrapeError
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.fetching import PageLimits
from metrics_server.sources.pages.room import PageRoom, Room
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor
from tests.support.waiting import eventually

ROW = b'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",namespace="n",pod="p"} 42\n'
LARGEST = 1024 * 1024
# For the largest pages, beyond the half MiB that each page has in any case.
ROOM_FOR = 16


@pytest.fixture
async def url(aiohttp_raw_server: AiohttpRawServer) -> str:
    """Exporters, one per path: those under /long have the largest page that is read."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = b"# " + b"x" * 100 + b"\n" + ROW
        if "long" in request.path:
            body *= LARGEST // len(body)
        if "cut" in request.path:
            body = body[:-1]
        if "broken" in request.path:
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body[:-1000])
            assert request.transport is not None
            request.transport.close()
            return response
        return web.Response(body=body, content_type="text/plain")

    return str((await aiohttp_raw_server(answer)).make_url("/"))


@pytest.fixture
async def scraper(monitor: Monitor) -> AsyncIterator[Scraper[Page]]:
    """A scraper that keeps pages for half a second."""
    limits = PageLimits(bytes=LARGEST, lines=LARGEST)
    async with Scraper(
        Page, timeout=10, max_age=0.5, max_concurrency=64, limits=limits, monitor=monitor
    ) as scraper:
        yield scraper


async def outcomes(scraper: Scraper[Page], *urls: str) -> Counter[str]:
    """The number of pages read, and of failures by reason."""
    scraped = await scraper.scrape(urls)
    return Counter(
        one.reason if isinstance(one, ScrapeError) else "ok" for one in scraped.outcomes.values()
    )


async def test_long_pages_have_a_bound_together(scraper: Scraper[Page], url: str) -> None:
    """Long pages beyond it fail and say why; an ordinary page is still read."""
    long = [f"{url}long/{n}" for n in range(2 * ROOM_FOR)]
    scraped = (await scraper.scrape([*long, f"{url}ordinary"])).outcomes
    assert isinstance(scraped[f"{url}ordinary"], Page)
    failed = [one for target in long if isinstance(one := scraped[target], ScrapeError)]
    assert ROOM_FOR <= len(failed) < len(long)
    assert {(one.reason, str(one)[:50]) for one in failed} == {
        ("too-large", "sent a long page while other exporters' pages took")
    }


def test_pages_that_grow_at_the_same_pace_do_not_all_fail() -> None:
    """Each failure makes room for the others, until these fit."""
    room = Room(2 * (LARGEST - LARGEST // 2))
    growing = [PageRoom(room) for _ in range(32)]
    for size in range(0, LARGEST + 1, 1024):
        growing = [page for page in growing if page.grow(size)]
        assert room.taken <= room.limit
    assert len(growing) == 2


@pytest.mark.slow
async def test_the_room_of_pages_that_are_gone_is_free(scraper: Scraper[Page], url: str) -> None:
    """Room is free again whether pages were read or failed."""
    for round_ in range(3):
        cut = [f"{url}long/cut/{round_}/{n}" for n in range(ROOM_FOR - 4)]
        assert await outcomes(scraper, *cut) == {"cut-short": len(cut)}
        long = [f"{url}long/{round_}/{n}" for n in range(ROOM_FOR - 4)]
        assert await outcomes(scraper, *long) == {"ok": len(long)}

        async def kept() -> int:
            return len(scraper)

        await eventually(kept, lambda count: count == 0)


@pytest.mark.parametrize("path", ["long/cut", "long/broken", "long/above-the-limit"])
async def test_a_failure_keeps_nothing_of_the_page(monitor: Monitor, url: str, path: str) -> None:
    """A failure is kept as long as a page, and an exception could hold everything read."""
    size = LARGEST // 2 if "above" in path else LARGEST
    limits = PageLimits(bytes=size, lines=LARGEST)
    async with Scraper(
        Page, timeout=10, max_age=60, max_concurrency=1, limits=limits, monitor=monitor
    ) as scraper:
        failure = (await scraper.scrape([url + path])).outcomes[url + path]
    assert isinstance(failure, ScrapeError)
    assert failure.__traceback__ is None
    assert failure.__context__ is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3 * LARGEST)), max_size=30))
def test_room_is_never_more_than_there_is(sizes: list[tuple[int, int]]) -> None:
    """Room is bounded for pages of any size, and all of it is free at the end."""
    room = Room(2 * LARGEST)
    pages = [PageRoom(room) for _ in range(6)]
    now = [0] * 6
    for number, size in sizes:
        if pages[number].grow(max(now[number], size)):
            now[number] = max(now[number], size)
        else:
            pages[number].release()
            now[number] = 0
        assert 0 <= room.taken <= room.limit
        assert pages[number].grow(now[number])
    for page in pages:
        page.release()
    assert room.taken == 0
