"""Clocks that a test sets."""

from datetime import datetime, timedelta


class Clock:
    """Seconds that pass only when a test says so.

    Args:
        now: the time at first.

    Attributes:
        now: the current time.
    """

    def __init__(self, now: float = 0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let this many seconds pass."""
        self.now += seconds


class WallClock:
    """The same, for the time of day.

    Args:
        now: the time at first.

    Attributes:
        now: the current time.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def advance(self, time: timedelta) -> None:
        """Let this much time pass."""
        self.now += time
