"""Waiting for things that set no event."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_CALIBRATION_SECONDS = 0.1
# Far longer than anything here takes, so that a failing test does not hang.
PATIENCE_SECONDS = 15


async def eventually(
    ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], patience: float = PATIENCE_SECONDS
) -> T:
    """Ask repeatedly until the answer is right, and return it.

    Args:
        ask: what to ask.
        holds: whether the answer is right.
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
                # Whatever it waits for needs the CPU more than the question does.
                used = time.thread_time() - used
                await asyncio.sleep(min(max(0.005, 3 * used), 0.2))
    except TimeoutError:
        raise AssertionError(f"it did not come about; the last answer was {answer}") from None


async def until(holds: Callable[[], object], patience: float = PATIENCE_SECONDS) -> None:
    """Return once a condition holds; raise TimeoutError if it does not in time.

    Args:
        holds: the condition, which is evaluated repeatedly.
        patience: for how many seconds.
    """
    async with asyncio.timeout(patience):
        while not holds():  # noqa: ASYNC110 - the condition may be about anything
            await asyncio.sleep(0.001)


class Deadline:
    """A deadline of a second, on an idle machine, for code that does not have to wait.

    On a busy machine nothing is on time: the second is multiplied by how much longer a
    computation takes there, before or after the timed code.
    """

    def __init__(self) -> None:
        self._before = _slowdown()

    def seconds(self) -> float:
        """Return the deadline; call it afterwards."""
        return max(self._before, _slowdown())


def _slowdown() -> float:
    """How many times longer than its CPU time a computation takes now."""
    began, used = time.monotonic(), time.thread_time()
    while (spent := time.thread_time() - used) < _CALIBRATION_SECONDS:
        pass
    return max(1.0, (time.monotonic() - began) / spent)
