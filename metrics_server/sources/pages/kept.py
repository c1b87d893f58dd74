"""Keeps scrapes until they expire: memory depends on the requests, not on the cluster."""

import asyncio
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Generic, TypeVar

from msgspec import Struct

from metrics_server.errors import ScrapeError
from metrics_server.sources.pages.balance import Balance
from metrics_server.sources.pages.lanes import Lane
from metrics_server.sources.pages.room import PageRoom

P = TypeVar("P")


class Scrape(Struct, Generic[P], frozen=True):
    """A scrape, in progress or finished.

    Attributes:
        task: returns the page, or the error.
        began: when it began.
        lane: where it has its place.
        turn: set when it gets this place.
        room: the memory of its page.
    """

    task: asyncio.Task[P | ScrapeError]
    began: float
    lane: Lane
    turn: asyncio.Future[None]
    room: PageRoom


class KeptScrapes(Generic[P]):
    """The scrapes that are shared by all who need them, by URL.

    Args:
        max_age: for how many seconds a scrape is kept, but at least until it is finished.
        balance: counts those that were read ahead for nothing.
    """

    def __init__(self, max_age: float, balance: Balance) -> None:
        self._max_age = max_age
        self._balance = balance
        self._scrapes: dict[str, Scrape[P]] = {}
        # When they expire, by the event loop's clock, in order: one timer for all of them.
        self._expiring: deque[tuple[float, str, PageRoom]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._scrapes)

    def __iter__(self) -> Iterator[Scrape[P]]:
        return iter(self._scrapes.values())

    def get(self, target: str) -> Scrape[P] | None:
        """Return the scrape of a URL, if there is one."""
        return self._scrapes.get(target)

    def put(self, target: str, scrape: Scrape[P]) -> None:
        """Keep a scrape that begins, in place of another one."""
        before = self._scrapes.get(target)
        if before is not None:
            self._drop(target, before)
        self._scrapes[target] = scrape
        loop = asyncio.get_running_loop()
        self._expiring.append((loop.time() + self._max_age, target, scrape.room))
        if self._timer is None:
            self._timer = loop.call_later(self._max_age, self._expire)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        while self._expiring and self._expiring[0][0] <= loop.time():
            _, target, room = self._expiring.popleft()
            scrape = self._scrapes.get(target)
            # Unless another one has taken its place.
            if scrape is not None and scrape.room is room:
                if scrape.task.done():
                    self._drop(target, scrape)
                else:
                    scrape.task.add_done_callback(partial(self._finished, target, scrape))
        self._timer = None
        if self._expiring:
            self._timer = loop.call_at(self._expiring[0][0], self._expire)

    def _finished(self, target: str, scrape: Scrape[P], _: object) -> None:
        self._drop(target, scrape)

    def _drop(self, target: str, scrape: Scrape[P]) -> None:
        if self._scrapes.get(target) is scrape:
            del self._scrapes[target]
            self._balance.drop(target)
        scrape.room.release()
