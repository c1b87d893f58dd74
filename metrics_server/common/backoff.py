"""Growing pauses between attempts."""

from collections.abc import Callable
from random import random

# 2 to this power exceeds any cap.
_MAX_DOUBLINGS = 16


class Backoff:
    """Exponential backoff with full jitter.

    Each pause is a random part of one that doubles, so that replicas do not all retry at once.

    Args:
        base: the longest first pause, in seconds.
        cap: the longest of all, in seconds.
        rand: a number from 0 up to 1.

    Attributes:
        failures: how many pauses since the last success.
    """

    def __init__(self, base: float, cap: float, rand: Callable[[], float] = random) -> None:
        self.failures = 0
        self._base = base
        self._cap = cap
        self._rand = rand

    def pause(self) -> float:
        """How many seconds to wait after one more failure."""
        longest = min(self._cap, self._base * (1 << min(self.failures, _MAX_DOUBLINGS)))
        self.failures += 1
        return longest * self._rand()

    def reset(self) -> None:
        """An attempt succeeded; the next pause is short again."""
        self.failures = 0
