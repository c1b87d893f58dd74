"""Parses pages without blocking the event loop: short ones at once, long ones in a thread.

A page is usually parsed in a fraction of a millisecond, so that a thread would cost more than it
saves. A page that takes longer, because its node has many GPUs or because it is something else
entirely, must not keep the event loop from serving others.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from cachetools import LRUCache

from metrics_server.errors import ScrapeError
from metrics_server.rules.model import Reading
from metrics_server.sources.turns import Turns

# The page of a node with eight GPUs has 250 lines, each of which takes up to 25 µs. The lines of a
# shorter page can be more, but take less: one that names a GPU and a pod has some 60 bytes, and one
# with a dozen takes 10 µs. Those of the shortest pages need not be counted.
_SHORT_LINES = 400
_SHORT_BYTES = 128 * 1024
_VERY_SHORT_LINES = 1000
_VERY_SHORT_BYTES = 64 * 1024
_SHORTEST_BYTES = 8 * 1024
# Pages that took longer than this are parsed in a separate lane.
_LONG_SECONDS = 0.1
_MOST_LONG_REMEMBERED = 10_000
# How long a thread may keep the interpreter from the event loop, which needs some dozens of turns
# for one response. With Python's default of 5 ms that would take half a second.
_SWITCH_SECONDS = 0.0005

# The CPU seconds that it took; None if it was not started.
_Future = asyncio.Future[float | None]


class Parseable(Protocol):
    """A page that can be parsed."""

    @property
    def target(self) -> str:
        """The URL it came from."""
        ...

    @property
    def size(self) -> int:
        """How many bytes it has."""
        ...

    @property
    def lines(self) -> int:
        """How many lines it has."""
        ...

    def is_parsed(self, readings: tuple[Reading, ...]) -> bool:
        """Return whether it is parsed for these readings."""
        ...

    def parse(self, readings: tuple[Reading, ...]) -> None:
        """Parse what most requests need."""
        ...

    def parse_all(self, readings: tuple[Reading, ...]) -> None:
        """Parse all that a request may need."""
        ...


P = TypeVar("P", bound=Parseable)


class Parser(Generic[P]):
    """Parses pages.

    Args:
        patience: how many seconds a request waits for a page to be parsed.

    Attributes:
        patience: the same.
    """

    def __init__(self, patience: float = 1.0) -> None:
        sys.setswitchinterval(_SWITCH_SECONDS)
        self.patience = patience
        self._jobs: dict[tuple[P, tuple[Reading, ...]], _Future] = {}
        self._long: LRUCache[str, None] = LRUCache(_MOST_LONG_REMEMBERED)
        self._quick_lane = ThreadPoolExecutor(1, thread_name_prefix="parse")
        self._slow_lane = ThreadPoolExecutor(1, thread_name_prefix="parse-slow")

    async def read(
        self, outcomes: Mapping[str, P | ScrapeError], readings: tuple[Reading, ...]
    ) -> Mapping[str, P | ScrapeError]:
        """Return the outcomes with each page parsed, or an error if that took too long."""
        jobs: dict[str, _Future] = {}
        turns = Turns()
        for url, page in outcomes.items():
            if isinstance(page, ScrapeError) or page.is_parsed(readings):
                continue
            if not _is_short(page):
                jobs[url] = self._job(page, readings)
                continue
            page.parse(readings)
            await turns.end_if_over()
        if not jobs:
            return outcomes
        # A cancelled request leaves the work to the others that share it.
        await asyncio.wait(jobs.values(), timeout=self.patience)
        late = {url: self._late(outcomes[url]) for url, job in jobs.items() if not _succeeded(job)}
        return {**outcomes, **late} if late else outcomes

    def _job(self, page: P, readings: tuple[Reading, ...]) -> _Future:
        """Return the job that parses a page, shared by all callers."""
        key = (page, readings)
        job = self._jobs.get(key)
        if job is None:
            lane = self._slow_lane if page.target in self._long else self._quick_lane
            loop = asyncio.get_running_loop()
            deadline = time.monotonic() + self.patience
            job = loop.run_in_executor(lane, _parse, page, readings, deadline)
            self._jobs[key] = job
            job.add_done_callback(lambda done: self._end(key, done))
        return job

    def _end(self, key: tuple[P, tuple[Reading, ...]], job: _Future) -> None:
        """Remember whether the exporter's pages take long to parse."""
        del self._jobs[key]
        if job.cancelled() or job.exception() is not None:
            return
        target, seconds = key[0].target, job.result()
        if seconds is not None and seconds > _LONG_SECONDS:
            self._long[target] = None
        elif seconds is not None:
            self._long.pop(target, None)

    def _late(self, page: P | ScrapeError) -> P | ScrapeError:
        if isinstance(page, ScrapeError):
            return page
        return ScrapeError(
            f"sent a page of {page.lines} lines, which was not parsed within {self.patience:g} s",
            "too-large",
        )


def _is_short(page: Parseable) -> bool:
    size = page.size
    if size <= _SHORTEST_BYTES or size > _SHORT_BYTES:
        return size <= _SHORTEST_BYTES
    return page.lines <= (_VERY_SHORT_LINES if size <= _VERY_SHORT_BYTES else _SHORT_LINES)


def _succeeded(job: _Future) -> bool:
    return job.done() and not job.cancelled() and job.result() is not None


def _parse(page: Parseable, readings: tuple[Reading, ...], deadline: float) -> float | None:
    """Parse a page, in a thread, unless nobody is waiting for it any longer."""
    if time.monotonic() > deadline:
        return None
    # Not wall-clock time, which includes the time of other threads.
    began = time.thread_time()
    page.parse_all(readings)
    return time.thread_time() - began
