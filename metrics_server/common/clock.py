"""Monotonic time, and the time of day that corresponds to it.

Ages, freshness and deadlines are differences of `time.monotonic`. The system clock may be set while
the server runs, in either direction, so it is read only where a time is shown.
"""

import time


def time_of_day(moment: float) -> float:
    """A moment of `time.monotonic`, in seconds since the epoch by the system clock of now."""
    return time.time() - (time.monotonic() - moment)
