"""Waiting for what sets no event."""

import asyncio
from collections.abc import Callable

_PATIENCE_SECONDS = 15


async def until(holds: Callable[[], object], patience: float = _PATIENCE_SECONDS) -> None:
    """Return once a condition holds; a TimeoutError if it does not come to hold.

    Args:
        holds: the condition, which is evaluated again and again.
        patience: for how many seconds.
    """
    async with asyncio.timeout(patience):
        while not holds():  # noqa: ASYNC110 - the condition may be about anything
            await asyncio.sleep(0.001)
