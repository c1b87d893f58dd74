"""Earlier scrapes of pods' pages, for rates and quantiles: how much counters grew within a window.

A counter that goes down was reset, usually because the engine restarted: it counts from 0 again, as
in Prometheus. A series counts from the first value that was read of it. A histogram is one series,
whose buckets are reset together.

Every scrape is taken into account, but only about 30 of a window are kept to look back to.
"""

import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from operator import add, lt, sub

from cachetools import TLRUCache
from msgspec import Struct

from metrics_server.common.weight import weight
from metrics_server.rules.model import Reading

Key = tuple[frozenset[tuple[str, str]], tuple[float, ...]]
"""What identifies a series: its labels, and the bounds of its buckets if it is a histogram."""

Series = Mapping[Key, tuple[float, ...]]
"""The value of each series; of a histogram, the count of each bucket."""

# Of all pods: a counter and a histogram of two engines take some 40 KB a pod, so 1600 of those.
_MAX_BYTES = 64 * 1024 * 1024
_SNAPSHOTS = 30
# Without a window.
_LAST_TWO = 2
# How long the scrapes of a page are kept after the last, in seconds, besides the window.
_LINGER = 60
# What an entry and a snapshot take besides their contents.
_TRACK_BYTES = 1536
_SNAPSHOT_BYTES = 256
_VALUE_BYTES = 8
# What a series takes, and each of its values: the last and the total, as numbers in tuples.
_LINE_BYTES = 192
_NUMBER_BYTES = 64

_TrackKey = tuple[str, Reading, int]


class Increase(Struct, frozen=True):
    """How much the counters of a page grew.

    Attributes:
        seconds: the time between the two scrapes, above 0.
        of: the growth of each series that is on the page now.
    """

    seconds: float
    of: Series


class History:
    """The scrapes that rates and quantiles look back to.

    Args:
        max_bytes: the most memory they take; the least recently used are dropped.
        clock: seconds, on the clock of the scrapes.
    """

    def __init__(
        self, max_bytes: int = _MAX_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tracks: TLRUCache[_TrackKey, _Track] = TLRUCache(
            max_bytes, _expiry, clock, getsizeof=_size
        )

    def __len__(self) -> int:
        """How many pages are looked back to, each counted once for a reading."""
        return len(self._tracks)

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        return int(self._tracks.currsize)

    def increase(
        self, target: str, reading: Reading, window: int, at: float, series: Series
    ) -> Increase | None:
        """Return how much a page's counters grew within a window; None if it was read only once.

        Args:
            target: the page. A pod that was recreated under its name must have another.
            reading: what was read of it.
            window: how many seconds to look back; 0 looks back to the last scrape.
            at: when the page was scraped.
            series: what it said then.
        """
        key = (target, reading, window)
        track = self._tracks.get(key)
        if track is None:
            track = _Track(window, weight(target))
        track.record(at, series)
        # Again each time: its size has changed, and it is in use.
        self._tracks[key] = track
        return track.increase()

    def expire(self) -> None:
        """Drop what has not been used for its window and a minute."""
        self._tracks.expire()


def _expiry(_: _TrackKey, track: "_Track", now: float) -> float:
    return now + track.window + _LINGER


def _size(track: "_Track") -> int:
    return track.size


class _Line:
    """A series as long as it is on the page; if it comes back, it is another."""

    __slots__ = ("last", "total")

    def __init__(self, values: tuple[float, ...]) -> None:
        self.last = values
        # The growth since the first value.
        self.total = (0.0,) * len(values)

    def advance(self, values: tuple[float, ...]) -> None:
        """Count what came since the last scrape."""
        is_reset = any(map(lt, values, self.last))
        grown = values if is_reset else tuple(map(sub, values, self.last))
        self.total = tuple(map(add, self.total, grown))
        self.last = values


class _Snapshot(Struct, frozen=True):
    """The totals at the time of a scrape.

    Attributes:
        at: the time.
        lines: the series that were on the page.
        totals: their totals, one after the other.
    """

    at: float
    lines: tuple[_Line, ...]
    totals: "array[float]"

    def lines_size(self) -> int:
        """The bytes of its series."""
        return _LINE_BYTES * len(self.lines) + _NUMBER_BYTES * len(self.totals)

    def by_line(self) -> Iterator[tuple[_Line, "array[float]"]]:
        """Iterate over the series and their totals."""
        start = 0
        for line in self.lines:
            end = start + len(line.total)
            yield line, self.totals[start:end]
            start = end


class _Track:
    """The scrapes of one page, for one reading and one window.

    Attributes:
        window: the window, in seconds.
        size: its bytes, including its target's.
    """

    __slots__ = ("_kept", "_keys_size", "_lines", "_newest", "_target_size", "size", "window")

    def __init__(self, window: int, target_size: int) -> None:
        self.window = window
        self.size = 0
        self._target_size = target_size + _TRACK_BYTES
        self._lines: Mapping[Key, _Line] = {}
        self._keys_size = 0
        self._newest = _Snapshot(float("-inf"), (), array("d"))
        # In order of time.
        self._kept: deque[_Snapshot] = deque()

    def record(self, at: float, series: Series) -> None:
        """Take a scrape into account, unless a later one has been."""
        if at <= self._newest.at:
            return
        lines = self._newest.lines
        if series.keys() != self._lines.keys():
            known = self._lines
            self._lines = {key: known.get(key) or _Line(values) for key, values in series.items()}
            self._keys_size = weight(tuple(series))
            lines = tuple(self._lines.values())
        for key, line in self._lines.items():
            line.advance(series[key])
        totals = array("d", chain.from_iterable(line.total for line in lines))
        self._newest = _Snapshot(at, lines, totals)
        kept = self._kept
        if not kept or at >= kept[-1].at + self.window / _SNAPSHOTS:
            kept.append(self._newest)
        while kept[0].at < at - self.window if self.window else len(kept) > _LAST_TWO:
            kept.popleft()
        self.size = self._target_size + self._keys_size + self._newest.lines_size()
        for one in kept:
            self.size += _SNAPSHOT_BYTES + _VALUE_BYTES * len(one.totals)
            if one.lines is not lines:
                # Some are gone, and only snapshots remember them.
                self.size += one.lines_size()

    def increase(self) -> Increase | None:
        """Return the growth from the oldest scrape within the window to the newest."""
        oldest, newest = self._kept[0], self._newest
        if oldest.at >= newest.at:
            return None
        # A line that has appeared since then began at 0.
        before = dict(oldest.by_line())
        of = {
            key: tuple(map(sub, totals, before[line])) if line in before else tuple(totals)
            for key, (line, totals) in zip(self._lines, newest.by_line(), strict=True)
        }
        return Increase(newest.at - oldest.at, of)
