"""Scrapes exporters: all at once, each at most once within `max_age`, each with its own outcome."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

import structlog
from cachetools import LRUCache
from msgspec import Struct

from metrics_server.common.outages import Outages
from metrics_server.errors import ScrapeError
from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import Reading
from metrics_server.rules.presets import DIALECTS
from metrics_server.sources.exporters.inventory import Inventory
from metrics_server.sources.exporters.pod_mapper import Attribution, attribute
from metrics_server.sources.exporters.sheet import Sheet
from metrics_server.sources.pages.access import AccessKeeper
from metrics_server.sources.pages.fetching import PageLimits, exporter_session, fetch
from metrics_server.sources.pages.lanes import Lane
from metrics_server.sources.pages.room import PageRoom, Room
from metrics_server.telemetry.metrics import Monitor

_MAX_HANGING_REMEMBERED = 10_000
# Of the timeout, how long an exporter has before others are asked in its place; and of the
# concurrency, how many are asked at once that did not answer the last time.
_PATIENT_PART = 1 / 4
_HANGING_PART = 1 / 4
# How many of the largest pages there is room for at a time, beside any number of ordinary ones.
_LARGEST_PAGES = 8

log = structlog.stdlib.get_logger(__name__)


class Page:
    """One exporter's metrics page.

    Attributes:
        target: the URL it came from.
        body: the page, in the Prometheus text format.
        lines: how many it has.
        timestamp: when it was asked for, by `time.monotonic`: what it says is no older.
        dialects: how the labels of its rows are read, in order of preference.
    """

    __slots__ = ("_attributions", "_sheet", "body", "dialects", "lines", "target", "timestamp")

    def __init__(
        self,
        target: str,
        body: bytes,
        timestamp: float,
        dialects: tuple[Dialect, ...] = DIALECTS,
    ) -> None:
        self.target = target
        self.dialects = dialects
        self.body = body
        self.lines = body.count(b"\n")
        self.timestamp = timestamp
        self._sheet = Sheet(body, dialects)
        self._attributions: dict[tuple[Reading, ...], Attribution] = {}

    def is_parsed(self, readings: tuple[Reading, ...]) -> bool:
        """Whether `attribution` has nothing left to do."""
        return readings in self._attributions

    def attribution(self, readings: tuple[Reading, ...]) -> Attribution:
        """The page's values for pods; parsed once, however many questions share the page."""
        known = self._attributions.get(readings)
        if known is None:
            known = self._attributions[readings] = attribute(self._sheet, readings)
        return known

    def inventory(self) -> Inventory:
        """The GPUs that the page knows of; taken once, when it is needed first."""
        return self._sheet.inventory

    def spoken(self) -> Iterator[Dialect]:
        """The dialects of its rows, as far as these were read; a dialect may come again."""
        return self._sheet.dialects()


class Scrapes(Struct, frozen=True):
    """What some exporters gave.

    Attributes:
        outcomes: by URL, the page or how the scrape failed.
        fresh_until: when the first of these scrapes ceases to serve, by `time.monotonic`.
    """

    outcomes: Mapping[str, Page | ScrapeError]
    fresh_until: float


class _Scrape(Struct, frozen=True):
    task: asyncio.Task[Page | ScrapeError]
    began: float
    lane: Lane
    turn: asyncio.Future[None]
    room: PageRoom


class Scraper:
    """Reads exporters' pages on demand.

    A scrape that is under way, or that began within `max_age`, serves whoever asks for it, be it
    a page or a failure: no exporter is asked more often, however many questions there are.

    Args:
        timeout: how long one scrape may take, waiting for its turn included, in seconds.
        max_age: how long a scrape serves, counted from its start, in seconds.
        max_concurrency: exporters asked at once. One that keeps silent for a quarter of the
            timeout makes room for the next; one that did not answer the last time waits for one
            of a quarter as many places of its own kind, so that it holds up no other.
        limits: how much a page may be.
        dialects: how the labels of its rows are read, in order of preference.
        monitor: counts the scrapes and their outcomes.
        access: how an exporter is reached, by its URL; None shows nothing to any.
        clock: seconds, on a monotonic clock.
    """

    def __init__(
        self,
        *,
        timeout: float,
        max_age: float,
        max_concurrency: int,
        limits: PageLimits | None = None,
        dialects: tuple[Dialect, ...] = DIALECTS,
        monitor: Monitor,
        access: Callable[[str], AccessKeeper] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._max_age = max_age
        patience = timeout * _PATIENT_PART
        self._lane = Lane(max_concurrency, patience)
        self._hanging_lane = Lane(max(1, int(max_concurrency * _HANGING_PART)), patience)
        self._limits = limits or PageLimits()
        self._room = Room(_LARGEST_PAGES * self._limits.bytes)
        self._dialects = dialects
        anonymous = AccessKeeper()
        self._access = access or (lambda _: anonymous)
        self._monitor = monitor
        self._clock = clock
        self._scrapes: dict[str, _Scrape] = {}
        self._outages = Outages(log, "scrape failed", "exporter recovered", key="target")
        # Those that did not answer in time, and when they were asked last.
        self._hanging: LRUCache[str, float] = LRUCache(_MAX_HANGING_REMEMBERED)

    async def __aenter__(self) -> Self:
        self._session = exporter_session()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        under_way = [one.task for one in self._scrapes.values() if not one.task.done()]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._session.close()

    def __len__(self) -> int:
        """How many scrapes are kept, or under way."""
        return len(self._scrapes)

    async def scrape(self, targets: Iterable[str]) -> Scrapes:
        """The page of each of these URLs, or how it failed. Takes no longer than `timeout`."""
        # Of those that hang, whose turn was longest ago comes first.
        in_turn = sorted(targets, key=lambda target: self._hanging.get(target, 0.0))
        question = object()
        scrapes = {target: self._scrape_of(target, question) for target in in_turn}
        under_way = [one.task for one in scrapes.values() if not one.task.done()]
        if under_way:
            # A question that is given up leaves the scrape to the others that share it.
            await asyncio.wait(under_way)
        began = min((one.began for one in scrapes.values()), default=self._clock())
        return Scrapes(
            outcomes={target: one.task.result() for target, one in scrapes.items()},
            fresh_until=began + self._max_age,
        )

    def _scrape_of(self, target: str, question: object) -> _Scrape:
        scrape = self._scrapes.get(target)
        if scrape is None:
            loop = asyncio.get_running_loop()
            began, lane, turn = self._clock(), self._lane_of(target), loop.create_future()
            room = PageRoom(self._room)
            reading = self._read(target, began, lane, turn, room)
            task = loop.create_task(reading, name=f"scrape {target}")
            scrape = self._scrapes[target] = _Scrape(task, began, lane, turn, room)
            # A page is let go with its age, so that memory follows the questions, not the cluster.
            loop.call_later(self._max_age, self._expire, target, scrape)
        if not scrape.turn.done():
            scrape.lane.line_up(scrape.turn, question)
        return scrape

    def _expire(self, target: str, scrape: _Scrape) -> None:
        if scrape.task.done():
            self._let_go(target, scrape)
        else:
            scrape.task.add_done_callback(lambda _: self._let_go(target, scrape))

    def _let_go(self, target: str, scrape: _Scrape) -> None:
        del self._scrapes[target]
        scrape.room.release()

    async def _read(
        self,
        target: str,
        began: float,
        lane: Lane,
        turn: asyncio.Future[None],
        room: PageRoom,
    ) -> Page | ScrapeError:
        start = time.perf_counter()
        asked: float | None = None
        hangs = False
        outcome: Page | ScrapeError
        try:
            # The deadline is around all of it: the turn, the files of access, and each byte.
            async with asyncio.timeout(self._timeout), lane.place(turn):
                asked = time.monotonic()
                body = await fetch(self._session, target, self._keeper(target), self._limits, room)
            outcome = Page(target, body, began, self._dialects)
            if outcome.lines > self._limits.lines:
                told = f"sent more than {self._limits.lines} lines (exporters.maxPageLines)"
                outcome = ScrapeError(told, "too-large")
        except ScrapeError as error:
            # It is kept for a while. What was read of the page hangs on its traceback, and on that
            # of the error before it.
            outcome = error.with_traceback(None)
            outcome.__context__ = None
        except TimeoutError:
            if asked is None:
                told = f"was not scraped within {self._timeout:g} s: too many others do not answer"
            else:
                told = f"did not answer within {self._timeout:g} s"
            outcome = ScrapeError(told, "timeout")
            hangs = True
        if isinstance(outcome, ScrapeError):
            room.release()
        if not hangs:
            self._hanging.pop(target, None)
        elif asked is not None:
            self._hanging[target] = asked
        seconds = time.perf_counter() - start
        if isinstance(outcome, ScrapeError):
            self._monitor.scraped(outcome.reason, seconds)
            self._outages.failed(target, outcome, reason=outcome.reason)
        else:
            self._monitor.scraped("ok", seconds)
            self._outages.recovered(target)
        return outcome

    def _keeper(self, target: str) -> AccessKeeper:
        try:
            return self._access(target)
        except KeyError:
            raise ScrapeError("is no longer an exporter", "unreachable") from None

    def _lane_of(self, target: str) -> Lane:
        return self._hanging_lane if target in self._hanging else self._lane
