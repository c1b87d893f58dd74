"""How many exporters are asked at once, so that those that hang do not hold up the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Lane:
    """So many at a time, each for so long; who takes longer goes on, and makes room.

    Args:
        width: how many at a time.
        patience: after how many seconds one makes room for the next.
    """

    def __init__(self, width: int, patience: float) -> None:
        self._places = asyncio.Semaphore(width)
        self._patience = patience

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place, once there is one: in the order in which it is asked for."""
        await self._places.acquire()
        held = True

        def make_room() -> None:
            nonlocal held
            if held:
                held = False
                self._places.release()

        timer = asyncio.get_running_loop().call_later(self._patience, make_room)
        try:
            yield
        finally:
            timer.cancel()
            make_room()
