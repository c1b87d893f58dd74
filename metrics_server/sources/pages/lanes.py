"""How many exporters are asked at once, and whose turn is next."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Lane:
    """So many at a time, each for so long; whoever takes longer goes on, and makes room.

    Questions take turns: one about a thousand exporters delays one about a single exporter by no
    more than one scrape.

    Args:
        width: how many at a time.
        patience: after how many seconds one makes room for the next.
    """

    def __init__(self, width: int, patience: float) -> None:
        self._free = width
        self._patience = patience
        # By question, in the order of their turns.
        self._waiting: dict[object, deque[asyncio.Future[None]]] = {}

    def line_up(self, turn: asyncio.Future[None], question: object) -> None:
        """Wait for a place on behalf of a question.

        Args:
            turn: gets a result when there is a place. It may wait for several questions, and then
                takes the first place that any of them gets.
            question: whatever tells it from others.
        """
        if self._free:
            self._free -= 1
            turn.set_result(None)
        else:
            self._waiting.setdefault(question, deque()).append(turn)

    @asynccontextmanager
    async def place(self, turn: asyncio.Future[None]) -> AsyncIterator[None]:
        """The place that a turn waits for."""
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._give()
            raise
        held = True

        def make_room() -> None:
            nonlocal held
            if held:
                held = False
                self._give()

        timer = asyncio.get_running_loop().call_later(self._patience, make_room)
        try:
            yield
        finally:
            timer.cancel()
            make_room()

    def _give(self) -> None:
        """Give a free place to the question whose turn it is."""
        while self._waiting:
            question = next(iter(self._waiting))
            turns = self._waiting.pop(question)
            while turns:
                turn = turns.popleft()
                if not turn.done():
                    turn.set_result(None)
                    if turns:
                        self._waiting[question] = turns  # after all others
                    return
        self._free += 1
