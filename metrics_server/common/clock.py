"""Moments on a clock that never goes back, and the time of day that goes with one.

Ages, freshness and deadlines are differences of `time.monotonic`. The system's own clock may be set
while the server runs, in either direction, so it is read only where a time is shown.
"""

import time


def time_of_day(moment: float) -> float:
    """When a moment of `time.monotonic` is, in seconds since the epoch, as the clock is set now."""
    return time.time() - (time.monotonic() - moment)
