"""Scrapes pages: all at once, each at most once within `max_age`, each with its own outcome."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

import structlog
from cachetools import LRUCache
from msgspec import Struct

from metrics_server.common.outages import Outages
from metrics_server.errors import ScrapeError
from metrics_server.sources.pages.access import AccessKeeper
from metrics_server.sources.pages.balance import Balance
from metrics_server.sources.pages.fetching import PageLimits, fetch, page_client
from metrics_server.sources.pages.kept import KeptScrapes, Scrape
from metrics_server.sources.pages.lanes import Lane
from metrics_server.sources.pages.room import PageRoom, Room
from metrics_server.telemetry.metrics import Monitor

_MAX_HANGING_REMEMBERED = 10_000
# The share of the timeout after which another exporter takes an exporter's place; and the share of
# the concurrency for exporters that did not answer the last time.
_PATIENT_PART = 1 / 4
_HANGING_PART = 1 / 4
# How many of the largest pages fit at a time, in addition to any number of ordinary ones.
_LARGEST_PAGES = 8
# How many pages are scraped at once for a question that nobody waits for yet.
_AHEAD_AT_ONCE = 8

P = TypeVar("P")

log = structlog.stdlib.get_logger(__name__)


class Scrapes(Struct, Generic[P], frozen=True):
    """The outcomes of scraping some pages.

    Attributes:
        outcomes: by URL, the page or the error.
        fresh_until: when the first of these scrapes expires, by `time.monotonic`.
        begun: how many of them this call began.
    """

    outcomes: Mapping[str, P | ScrapeError]
    fresh_until: float
    begun: int = 0


class Scraper(Generic[P]):
    """Reads pages on demand.

    A scrape that is in progress, or that began within `max_age`, is shared by all callers, whether
    it succeeds or fails: no page is scraped more often, however many requests there are. Only
    `scrape_ahead` replaces a page that is about to expire.

    Args:
        page: makes a page of its URL, its body, and the time when it was requested.
        timeout: how long one scrape may take, including the wait for its turn, in seconds.
        max_age: how long a scrape is reused, counted from its start, in seconds.
        max_concurrency: how many pages are scraped at once. One that has not answered after a
            quarter of the timeout makes room for the next. Those that did not answer the last time
            share a quarter as many separate places, and so do not delay others.
        limits: the limits of a page.
        monitor: counts the scrapes and their outcomes.
        access: how to reach a page, by its URL; None sends no credentials.
        clock: seconds, on a monotonic clock.
    """

    def __init__(
        self,
        page: Callable[[str, bytes, float], P],
        *,
        timeout: float,
        max_age: float,
        max_concurrency: int,
        limits: PageLimits | None = None,
        monitor: Monitor,
        access: Callable[[str], AccessKeeper] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._page = page
        self._timeout = timeout
        self._max_age = max_age
        patience = timeout * _PATIENT_PART
        self._lane = Lane(max_concurrency, patience)
        self._hanging_lane = Lane(max(1, int(max_concurrency * _HANGING_PART)), patience)
        self._limits = limits or PageLimits()
        self._room = Room(_LARGEST_PAGES * self._limits.bytes)
        anonymous = AccessKeeper()
        self._access = access or (lambda _: anonymous)
        self._monitor = monitor
        self._clock = clock
        self._balance = Balance(max_age)
        self._scrapes: KeptScrapes[P] = KeptScrapes(max_age, self._balance)
        self._outages = Outages(log, "scrape failed", "scrape recovered", key="target")
        # Those that did not answer in time, and when they were last scraped.
        self._hanging: LRUCache[str, float] = LRUCache(_MAX_HANGING_REMEMBERED)

    async def __aenter__(self) -> Self:
        self._client = page_client()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scrapes.close()
        under_way = [one.task for one in self._scrapes if not one.task.done()]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._client.close()

    def __len__(self) -> int:
        """How many scrapes are kept or in progress."""
        return len(self._scrapes)

    async def scrape(
        self, targets: Iterable[str], access: Mapping[str, AccessKeeper] | None = None, /
    ) -> Scrapes[P]:
        """Return the page of each URL, or its error, within `timeout`.

        Args:
            targets: the URLs. What is scraped with other access must differ in its fragment, which
                is not sent.
            access: how to reach each of them; None means by the scraper's own `access`.
        """
        # Of those that hang, the one scraped longest ago comes first.
        in_turn = sorted(targets, key=lambda target: self._hanging.get(target, 0.0))
        now = self._clock()
        for target in in_turn:
            self._balance.need(target, now)
        question = object()
        keeper_of = self._access if access is None else access.__getitem__
        scrapes = {target: self._scrape_of(target, question, keeper_of) for target in in_turn}
        under_way = [one.task for one in scrapes.values() if not one.task.done()]
        if under_way:
            # A cancelled request leaves the scrape to the others that share it.
            await asyncio.wait(under_way)
        began = min((one.began for one in scrapes.values()), default=self._clock())
        return Scrapes(
            outcomes={target: one.task.result() for target, one in scrapes.items()},
            fresh_until=began + self._max_age,
        )

    async def scrape_ahead(
        self, targets: Iterable[str], until: float, access: Mapping[str, AccessKeeper] | None = None
    ) -> Scrapes[P]:
        """Scrape pages that will be needed soon, a few at a time, unless that adds many scrapes.

        A page that expires before `until` is scraped again. One that does not answer in time does
        not hold up the others, and is not among the outcomes.
        """
        # Of those that hang, the one scraped longest ago comes first, but after all others.
        in_turn = iter(sorted(targets, key=lambda target: self._hanging.get(target, 0.0)))
        question = object()
        keeper_of = self._access if access is None else access.__getitem__
        outcomes: dict[str, P | ScrapeError] = {}
        begun = 0
        while self._balance.allows_more() and (some := tuple(islice(in_turn, _AHEAD_AT_ONCE))):
            before = [self._scrapes.get(target) for target in some]
            scrapes = [self._scrape_of(target, question, keeper_of, until) for target in some]
            begun += sum(old is not new for old, new in zip(before, scrapes, strict=True))
            under_way = [one.task for one in scrapes if not one.task.done()]
            if under_way:
                await asyncio.wait(under_way, timeout=self._timeout * _PATIENT_PART)
            for target, one in zip(some, scrapes, strict=True):
                if one.task.done():
                    outcomes[target] = one.task.result()
        return Scrapes(outcomes, until, begun)

    def _scrape_of(
        self,
        target: str,
        question: object,
        keeper_of: Callable[[str], AccessKeeper],
        until: float = 0.0,
    ) -> Scrape[P]:
        scrape = self._scrapes.get(target)
        if scrape is None or (scrape.task.done() and scrape.began + self._max_age < until):
            loop = asyncio.get_running_loop()
            began, lane, turn = self._clock(), self._lane_of(target), loop.create_future()
            room = PageRoom(self._room)
            reading = self._read(target, keeper_of, began=began, lane=lane, turn=turn, room=room)
            task = loop.create_task(reading, name=f"scrape {target}")
            scrape = Scrape(task, began, lane, turn, room)
            self._scrapes.put(target, scrape)
            self._balance.begin(target, is_ahead=until > 0)
        if not scrape.turn.done():
            scrape.lane.line_up(scrape.turn, question, is_ahead=until > 0)
        return scrape

    async def _read(
        self,
        target: str,
        keeper_of: Callable[[str], AccessKeeper],
        *,
        began: float,
        lane: Lane,
        turn: asyncio.Future[None],
        room: PageRoom,
    ) -> P | ScrapeError:
        start = time.perf_counter()
        sent: float | None = None
        hangs = False
        outcome: P | ScrapeError
        try:
            # The deadline covers everything: the turn, the credential files, and each byte.
            async with asyncio.timeout(self._timeout), lane.place(turn):
                sent = time.monotonic()
                keeper = _keeper(keeper_of, target)
                body = await fetch(self._client, target, keeper, self._limits, room)
            outcome = self._page(target, body, began)
        except ScrapeError as error:
            # The error is kept for a while. Its traceback, and that of the error before it, would
            # keep what was read of the page in memory.
            outcome = error.with_traceback(None)
            outcome.__context__ = None
        except TimeoutError:
            if sent is None:
                message = (
                    f"was not scraped within {self._timeout:g} s: too many others do not answer"
                )
            else:
                message = f"did not answer within {self._timeout:g} s"
            outcome = ScrapeError(message, "timeout")
            hangs = True
        if isinstance(outcome, ScrapeError):
            room.release()
        if not hangs:
            self._hanging.pop(target, None)
        elif sent is not None:
            self._hanging[target] = sent
        seconds = time.perf_counter() - start
        if isinstance(outcome, ScrapeError):
            self._monitor.scraped(outcome.reason, seconds)
            self._outages.failed(target, outcome, reason=outcome.reason)
        else:
            self._monitor.scraped("ok", seconds)
            self._outages.recovered(target)
        return outcome

    def _lane_of(self, target: str) -> Lane:
        return self._hanging_lane if target in self._hanging else self._lane


def _keeper(keeper_of: Callable[[str], AccessKeeper], target: str) -> AccessKeeper:
    try:
        return keeper_of(target)
    except KeyError:
        raise ScrapeError("is no longer an exporter", "unreachable") from None
