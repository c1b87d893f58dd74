"""Lets other tasks run during long work on the event loop."""

import asyncio
import time
from collections.abc import Iterable

# How long the work runs without a break, in seconds.
_TURN_SECONDS = 0.005
# How many rows are counted before the clock is read.
_TURN_ROWS = 200


class Turns:
    """The turns of one piece of work, whose first begins now."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._rows = 0

    async def end_if_over(self) -> None:
        """Let other tasks run, if this turn has lasted long enough."""
        if time.perf_counter() - self._began > _TURN_SECONDS:
            await asyncio.sleep(0)
            self._began = time.perf_counter()

    async def next(self, rows: int = 1) -> None:
        """The same, for work on single rows: count them, and read the clock now and then."""
        self._rows += rows
        if self._rows >= _TURN_ROWS:
            self._rows = 0
            await self.end_if_over()

    async def through(self, steps: Iterable[object]) -> None:
        """Take steps one by one, each of which is work on one row."""
        for _ in steps:
            await self.next()
