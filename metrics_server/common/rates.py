"""Rate limits, per peer and in total."""

import time
from collections.abc import Callable, Hashable

from cachetools import LRUCache
from msgspec import Struct

# A forgotten peer starts with a full bucket again; the total is never forgotten.
_MAX_PEERS = 1024


class Rate(Struct, frozen=True):
    """A token bucket's size and refill.

    Attributes:
        per_second: how many are allowed per second in the long run.
        burst: how many are allowed at once after a pause.
    """

    per_second: float
    burst: float


class _Bucket:
    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = rate.burst
        self._at = now

    def has_one(self, now: float) -> bool:
        self._left = min(self._rate.burst, self._left + (now - self._at) * self._rate.per_second)
        self._at = now
        return self._left >= 1

    def take(self) -> None:
        self._left -= 1


class Rates:
    """Token buckets, one for each peer and one for all.

    Args:
        each: the limit of each peer.
        total: the limit of all peers together.
        clock: seconds that never run backwards.
    """

    def __init__(
        self, *, each: Rate, total: Rate, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._each = each
        self._clock = clock
        self._total = _Bucket(total, clock())
        self._buckets: LRUCache[Hashable, _Bucket] = LRUCache(_MAX_PEERS)

    def allow(self, peer: Hashable) -> bool:
        """Whether a peer may cause another event; if so, it is counted."""
        now = self._clock()
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = self._buckets[peer] = _Bucket(self._each, now)
        if not bucket.has_one(now) or not self._total.has_one(now):
            return False
        bucket.take()
        self._total.take()
        return True
