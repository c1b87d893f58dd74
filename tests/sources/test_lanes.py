"""Hanging exporters do not delay others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from metrics_server.errors import ScrapeError
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.lanes import Lane
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor

_HEADERS = b"Content-Type: text/plain\r\nConnection: close\r\nContent-Length: 2\r\n"
_RESPONSE = b"HTTP/1.1 200 OK\r\n" + _HEADERS + b"\r\n#\n"


class Exporter:
    """An exporter that answers while it is healthy, and closes each connection.

    Attributes:
        well: while it is not set, nothing is answered.
    """

    def __init__(self) -> None:
        self.well = asyncio.Event()
        self.well.set()
        self._answers: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Its URL."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
            # From Python 3.12.1 on, a server closes only when its connections have.
            self.well.set()
        await asyncio.gather(*self._answers)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answers.append(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await self.well.wait()
            writer.write(_RESPONSE)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def fleet(count: int) -> AsyncIterator[dict[str, Exporter]]:
    """This many exporters, by URL."""
    async with AsyncExitStack() as stack:
        exporters = [Exporter() for _ in range(count)]
        yield {await stack.enter_async_context(one.listening()): one for one in exporters}


def scraper_of(monitor: Monitor, timeout: float) -> Scraper[Page]:
    """A scraper with four places, which scrapes each time."""
    return Scraper(Page, timeout=timeout, max_age=1e-9, max_concurrency=4, monitor=monitor)


@pytest.mark.slow
async def test_hung_exporters_leave_their_places(monitor: Monitor) -> None:
    """At first, more exporters hang than there are places, and the healthy ones still answer."""
    async with fleet(14) as exporters, scraper_of(monitor, 2) as scraper:
        hung, healthy = list(exporters)[:6], list(exporters)[6:]
        for url in hung:
            exporters[url].well.clear()
        first = asyncio.create_task(scraper.scrape(hung))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        outcomes = (await scraper.scrape(healthy)).outcomes
        assert all(isinstance(one, Page) for one in outcomes.values())
        # After half a second, and not only after the hanging ones time out.
        assert asyncio.get_running_loop().time() - began < 1.5
        assert all(isinstance(one, ScrapeError) for one in (await first).outcomes.values())


async def test_hung_exporters_have_places_of_their_own(monitor: Monitor) -> None:
    """From then on they wait only for each other, and the healthy ones for none of them."""
    async with fleet(16) as exporters, scraper_of(monitor, 0.4) as scraper:
        hung, healthy = list(exporters)[:8], list(exporters)[8:]
        for url in hung:
            exporters[url].well.clear()
        await scraper.scrape(hung)
        again = asyncio.create_task(scraper.scrape(hung))
        for _ in range(3):
            outcomes = (await scraper.scrape(healthy)).outcomes
            assert all(isinstance(one, Page) for one in outcomes.values())
            assert not again.done()
        errors = {str(one) for one in (await again).outcomes.values()}
        assert errors == {
            "did not answer within 0.4 s",
            "was not scraped within 0.4 s: too many others do not answer",
        }


@pytest.mark.slow
async def test_an_exporter_that_was_not_scraped_is_first_the_next_time(monitor: Monitor) -> None:
    """Every hanging exporter is scraped eventually, so one that recovers is noticed."""
    async with fleet(12) as exporters, scraper_of(monitor, 0.2) as scraper:
        for one in exporters.values():
            one.well.clear()
        # Four places with a quarter of the timeout each: all of them hang from then on.
        await scraper.scrape(exporters)
        recovered = list(exporters)[7]
        exporters[recovered].well.set()
        async with asyncio.timeout(10):
            while isinstance((await scraper.scrape(exporters)).outcomes[recovered], ScrapeError):
                pass
        # It counts as healthy again, and answers each time.
        for _ in range(3):
            outcomes = (await scraper.scrape(exporters)).outcomes
            assert isinstance(outcomes[recovered], Page)


@pytest.mark.parametrize("shared", [False, True])
async def test_questions_take_turns(monitor: Monitor, *, shared: bool) -> None:
    """A question about one exporter does not wait for all the answers of one about many."""
    async with fleet(40) as exporters, scraper_of(monitor, 10) as scraper:
        *many, one = exporters
        for url in many:
            exporters[url].well.clear()
        large = asyncio.create_task(scraper.scrape(exporters if shared else many))
        await asyncio.sleep(0)
        small = asyncio.create_task(scraper.scrape([one]))
        await asyncio.sleep(0)
        # Two of the four requested ones answer: the next turn may be the large question's, and the
        # one after that is the small one's.
        for url in many[:2]:
            exporters[url].well.set()
        async with asyncio.timeout(2):
            assert isinstance((await small).outcomes[one], Page)
        assert not large.done()
        for url in many:
            exporters[url].well.set()
        assert all(isinstance(page, Page) for page in (await large).outcomes.values())


async def test_a_turn_that_is_given_up_is_passed_on() -> None:
    """A turn may be given up while waiting, or at the moment when it is granted."""
    lane = Lane(1, patience=60)
    loop = asyncio.get_running_loop()

    async def hold(turn: asyncio.Future[None]) -> None:
        async with lane.place(turn):
            pass

    first, second, third, last = (loop.create_future() for _ in range(4))
    for turn in (first, second, third, last):
        lane.line_up(turn, "one question")
    waiting, granted = loop.create_task(hold(second)), loop.create_task(hold(third))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await hold(first)
    assert third.done()
    granted.cancel()
    await asyncio.wait([granted])
    await asyncio.wait_for(hold(last), 5)


async def test_a_place_is_free_again_once() -> None:
    """Whether one ends in time, late, or by a cancellation: a lane never gets wider or narrower."""
    lane = Lane(1, patience=0.01)
    entered: list[int] = []

    async def stay(number: int, until: asyncio.Event) -> None:
        turn = asyncio.get_running_loop().create_future()
        lane.line_up(turn, number)
        async with lane.place(turn):
            entered.append(number)
            await until.wait()

    never, now = asyncio.Event(), asyncio.Event()
    now.set()
    async with asyncio.timeout(5):
        late = asyncio.create_task(stay(0, never))
        await asyncio.sleep(0)
        await stay(1, now)
        assert not late.done()
        late.cancel()
        await asyncio.wait([late])
        # The place that it gave up earlier is not returned twice.
        held = asyncio.create_task(stay(2, never))
        await asyncio.sleep(0)
        next_one = asyncio.create_task(stay(3, now))
        await asyncio.sleep(0)
        assert entered == [0, 1, 2]
        await next_one
        held.cancel()
        await asyncio.wait([held])
    assert entered == [0, 1, 2, 3]


async def test_what_is_read_ahead_comes_after_all_requests() -> None:
    """Reading ahead gets a place only if half of them are free after that."""
    lane = Lane(4, patience=10)
    loop = asyncio.get_running_loop()
    turns = [loop.create_future() for _ in range(8)]
    ahead, requests = turns[:4], turns[4:]
    question = object()

    def have_places() -> list[int]:
        return [number for number, turn in enumerate(turns) if turn.done()]

    for turn in ahead:
        lane.line_up(turn, question, is_ahead=True)
    assert have_places() == [0, 1]
    for turn in requests:
        lane.line_up(turn, question)
    assert have_places() == [0, 1, 4, 5]
    async with lane.place(turns[0]):
        pass
    assert have_places() == [0, 1, 4, 5, 6]
    async with lane.place(turns[1]), lane.place(turns[4]):
        pass
    assert have_places() == [0, 1, 4, 5, 6, 7]
    async with lane.place(turns[5]):
        pass
    assert have_places() == [0, 1, 4, 5, 6, 7]
    async with lane.place(turns[6]):
        pass
    assert have_places() == [0, 1, 2, 4, 5, 6, 7]


async def test_a_request_need_not_wait_for_what_is_read_ahead() -> None:
    """If its page is already in the queue, it moves to a request's position."""
    lane = Lane(2, patience=10)
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    lane.line_up(first, "ahead", is_ahead=True)
    lane.line_up(second, "ahead", is_ahead=True)
    assert not second.done()
    lane.line_up(second, "request")
    assert second.done()
    async with lane.place(first), lane.place(second):
        pass
