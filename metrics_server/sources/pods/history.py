"""Earlier scrapes of pods' pages, for rates and quantiles.

Their memory is bounded. If it is used up, further pages are refused rather than others dropped:
with more pages than fit, each would be dropped before its next scrape, and none would have a rate.
The exception: if a namespace has more of the memory than the one that needs room would then have,
its newest pages are dropped, so that no namespace takes it all.
"""

import time
from collections.abc import Callable
from heapq import heapify, heappop, heapreplace
from typing import Literal

from metrics_server.common.weight import weight
from metrics_server.rules.model import Reading
from metrics_server.sources.pods.track import Increase, Series, Track, label_bytes

MAX_BYTES = 64 * 1024 * 1024
# How long the scrapes of a page are kept after the last, in seconds: besides the window; and
# without one, for an HPA controller with a sync period of up to 3 minutes.
_LINGER = 60
_LINGER_WITHOUT_WINDOW = 200
# How often expired ones are searched for, in seconds.
_EXPIRE_EVERY = 5

_Key = tuple[str, Reading, int]
Unknown = Literal["once", "full"]
"""Why there is no increase: the page was read only once, or there was no room to remember it."""


class _Entry:
    """A track, with its size, and until when it is kept."""

    __slots__ = ("size", "track", "until")

    def __init__(self, track: Track) -> None:
        self.track = track
        self.size = 0
        self.until = 0.0


class _Share:
    """A namespace's share of the memory; the newest last."""

    __slots__ = ("bytes", "entries")

    def __init__(self) -> None:
        self.bytes = 0
        self.entries: dict[_Key, _Entry] = {}


class History:
    """The earlier scrapes that rates and quantiles need.

    Args:
        max_bytes: the most memory they take.
        clock: seconds, on the clock of the scrapes.
    """

    def __init__(
        self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._clock = clock
        self._shares: dict[str, _Share] = {}
        self._expired = clock()

    def __len__(self) -> int:
        """How many pages are remembered, each counted once per reading."""
        return sum(len(share.entries) for share in self._shares.values())

    def increase(  # noqa: PLR0917 - what identifies a track, and what is recorded
        self,
        namespace: str,
        target: str,
        reading: Reading,
        window: int,
        at: float,
        series: Series,
        labels: int | None = None,
    ) -> Increase | Unknown:
        """Return how much a page's counters grew within a window.

        Args:
            namespace: whose share of the memory it takes.
            target: the page. A pod that was recreated under its name must have another.
            reading: what was read of it.
            window: how many seconds to look back; 0 looks back to the last scrape.
            at: when the page was scraped.
            series: what it said then.
            labels: their `label_bytes`. Counting them takes long if there are thousands.
        """
        key = (target, reading, window)
        now = self._clock()
        entry = self._entry(namespace, key, now)
        if labels is None:
            labels = label_bytes(series)
        size = weight(target) + Track.size(series, labels, window)
        if entry is None or (at > entry.track.at and size != entry.size):
            if not self._make_room(namespace, size - (entry.size if entry else 0)):
                self._drop(namespace, key)
                return "full"
            entry = self._resize(namespace, key, entry, size)
        entry.until = now + (window + _LINGER if window else _LINGER_WITHOUT_WINDOW)
        if at > entry.track.at:
            entry.track.record(at, series)
        return entry.track.increase() or "once"

    def expire(self) -> None:
        """Drop what has not been used for long, if it is time to look."""
        now = self._clock()
        if now < self._expired + _EXPIRE_EVERY:
            return
        self._expired = now
        for namespace, share in list(self._shares.items()):
            for key in [one for one, entry in share.entries.items() if entry.until <= now]:
                self._drop(namespace, key)

    def _entry(self, namespace: str, key: _Key, now: float) -> _Entry | None:
        share = self._shares.get(namespace)
        entry = share.entries.get(key) if share else None
        if entry is not None and entry.until <= now:
            self._drop(namespace, key)
            return None
        return entry

    def _resize(self, namespace: str, key: _Key, entry: _Entry | None, size: int) -> _Entry:
        share = self._shares.setdefault(namespace, _Share())
        if entry is None:
            entry = share.entries[key] = _Entry(Track(key[2]))
        share.bytes += size - entry.size
        self.bytes += size - entry.size
        entry.size = size
        return entry

    def _drop(self, namespace: str, key: _Key) -> None:
        share = self._shares.get(namespace)
        entry = share.entries.pop(key, None) if share else None
        if share is None or entry is None:
            return
        share.bytes -= entry.size
        self.bytes -= entry.size
        if not share.entries:
            del self._shares[namespace]

    def _make_room(self, namespace: str, more: int) -> bool:
        """Return whether there is room for this many more bytes of a namespace's pages."""
        if self.bytes + more <= self._max_bytes:
            return True
        self.expire()
        share = self._shares.get(namespace)
        # What the namespace would have; others must give up only what they have above that.
        would = (share.bytes if share else 0) + more
        above = sum(max(0, one.bytes - would) for one in self._shares.values())
        if self.bytes + more - above > self._max_bytes:
            return False
        # There may be many namespaces, and many pages to drop.
        largest = [(-one.bytes, name) for name, one in self._shares.items()]
        heapify(largest)
        while self.bytes + more > self._max_bytes:
            _, name = largest[0]
            self._drop(name, next(reversed(self._shares[name].entries)))
            if name in self._shares:
                heapreplace(largest, (-self._shares[name].bytes, name))
            else:
                heappop(largest)
        return True
