"""Keeps scrapes until they expire, within a limit of memory."""

import asyncio
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Generic, TypeVar

from msgspec import Struct

from metrics_server.errors import ScrapeError
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
        max_bytes: how many bytes all pages may take: beyond, the oldest are dropped.
    """

    def __init__(self, max_age: float, max_bytes: int) -> None:
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._bytes = 0
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

    def received(self, size: int) -> None:
        """Count the page of a scrape that is kept, and drop the oldest ones if need be."""
        self._bytes += size
        in_progress: list[tuple[float, str, PageRoom]] = []
        while self._bytes > self._max_bytes and self._expiring:
            one = self._expiring.popleft()
            scrape = self._with(*one[1:])
            if scrape is not None and scrape.task.done():
                self._drop(one[1], scrape)
            elif scrape is not None:
                in_progress.append(one)
        self._expiring.extendleft(reversed(in_progress))

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        while self._expiring and self._expiring[0][0] <= loop.time():
            _, target, room = self._expiring.popleft()
            scrape = self._with(target, room)
            if scrape is not None and scrape.task.done():
                self._drop(target, scrape)
            elif scrape is not None:
                scrape.task.add_done_callback(partial(self._finished, target, scrape))
        self._timer = None
        if self._expiring:
            self._timer = loop.call_at(self._expiring[0][0], self._expire)

    def _with(self, target: str, room: PageRoom) -> Scrape[P] | None:
        """Return the scrape with this room, unless it was dropped or another has its place."""
        scrape = self._scrapes.get(target)
        return scrape if scrape is not None and scrape.room is room else None

    def _finished(self, target: str, scrape: Scrape[P], _: object) -> None:
        self._drop(target, scrape)

    def _drop(self, target: str, scrape: Scrape[P]) -> None:
        if self._scrapes.get(target) is scrape:
            del self._scrapes[target]
            self._bytes -= scrape.room.size
        scrape.room.release()
