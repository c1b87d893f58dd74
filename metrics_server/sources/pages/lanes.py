"""Limits how many exporters are scraped at once, and decides which is next."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# The share of the places that reading ahead leaves to requests.
_LEFT_PART = 1 / 2


class Lane:
    """A limited number of places, each for a limited time; a slower scrape goes on without one.

    Requests take turns: a request for a thousand exporters delays a request for a single exporter
    by no more than one scrape. Reading ahead yields to all requests.

    Args:
        width: how many places there are.
        patience: after how many seconds a scrape gives up its place.
    """

    def __init__(self, width: int, patience: float) -> None:
        self._free = width
        self._left = int(width * _LEFT_PART)
        self._patience = patience
        # By request, in the order of their turns.
        self._waiting: dict[object, deque[asyncio.Future[None]]] = {}
        self._waiting_ahead: dict[object, deque[asyncio.Future[None]]] = {}

    def line_up(
        self, turn: asyncio.Future[None], question: object, *, is_ahead: bool = False
    ) -> None:
        """Queue for a place on behalf of a request.

        Args:
            turn: gets a result when there is a place. It may be queued for several requests, and
                then takes the first place that any of them gets.
            question: identifies the request.
            is_ahead: whether it is read ahead.
        """
        if self._free > (self._left if is_ahead else 0):
            self._free -= 1
            turn.set_result(None)
        else:
            waiting = self._waiting_ahead if is_ahead else self._waiting
            waiting.setdefault(question, deque()).append(turn)

    @asynccontextmanager
    async def place(self, turn: asyncio.Future[None]) -> AsyncIterator[None]:
        """Wait for the place of a turn, and keep it."""
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._give()
            raise
        has_place = True

        def make_room() -> None:
            nonlocal has_place
            if has_place:
                has_place = False
                self._give()

        timer = asyncio.get_running_loop().call_later(self._patience, make_room)
        try:
            yield
        finally:
            timer.cancel()
            make_room()

    def _give(self) -> None:
        """Give a free place to the request whose turn it is."""
        self._free += 1
        turn = _next(self._waiting)
        if turn is None and self._free > self._left:
            turn = _next(self._waiting_ahead)
        if turn is not None:
            self._free -= 1
            turn.set_result(None)


def _next(waiting: dict[object, deque[asyncio.Future[None]]]) -> asyncio.Future[None] | None:
    """Return the next turn, and move its request behind all others."""
    while waiting:
        question = next(iter(waiting))
        turns = waiting.pop(question)
        while turns:
            turn = turns.popleft()
            if not turn.done():
                if turns:
                    waiting[question] = turns
                return turn
    return None
