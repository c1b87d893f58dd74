"""Waiting for what sets no event."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_CALIBRATION_SECONDS = 0.1
# Far longer than anything here takes, so that a test that fails does not hang.
PATIENCE_SECONDS = 15


async def eventually(
    ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], patience: float = PATIENCE_SECONDS
) -> T:
    """Ask again and again until the answer is as it should be, and return it.

    Args:
        ask: what to ask.
        holds: whether the answer is as it should be.
        patience: after how many seconds the test fails.
    """
    answer: T | None = None
    try:
        async with asyncio.timeout(patience):
            while True:
                used = time.thread_time()
                answer = await ask()
                if holds(answer):
                    return answer
                # What is waited for needs the processor more than the question does.
                used = time.thread_time() - used
                await asyncio.sleep(min(max(0.005, 3 * used), 0.2))
    except TimeoutError:
        raise AssertionError(f"it did not come about; the last answer was {answer}") from None


async def until(holds: Callable[[], object], patience: float = PATIENCE_SECONDS) -> None:
    """Return once a condition holds; a TimeoutError if it does not come to hold.

    Args:
        holds: the condition, which is evaluated again and again.
        patience: for how many seconds.
    """
    async with asyncio.timeout(patience):
        while not holds():  # noqa: ASYNC110 - the condition may be about anything
            await asyncio.sleep(0.001)


class Deadline:
    """A second for what does not have to wait for anything, on a machine that is free.

    On one that is busy with other work nothing comes in time: the second is as many times as long
    as a computation takes there, before what is timed or after it.
    """

    def __init__(self) -> None:
        self._before = _slowdown()

    def seconds(self) -> float:
        """Return the deadline; to be asked for once all is over."""
        return max(self._before, _slowdown())


def _slowdown() -> float:
    """How many times as long as a processor needs for it something takes now."""
    began, used = time.monotonic(), time.thread_time()
    while (spent := time.thread_time() - used) < _CALIBRATION_SECONDS:
        pass
    return max(1.0, (time.monotonic() - began) / spent)
