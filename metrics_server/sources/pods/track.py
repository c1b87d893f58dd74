"""How much the counters of one page grew within a window.

A counter that goes down was reset, usually because the engine restarted: it counts from 0 again, as
in Prometheus. A series counts from the first value that was read of it, and starts over if it comes
back. A histogram is one series, whose buckets are reset together.
"""

from array import array
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain, repeat
from operator import add, lt, sub

from msgspec import Struct

from metrics_server.common.weight import weight

Key = tuple[frozenset[tuple[str, str]], tuple[float, ...]]
"""What identifies a series: its labels, and the bounds of its buckets if it is a histogram."""

Series = Mapping[Key, tuple[float, ...]]
"""The value of each series; of a histogram, the count of each bucket."""

# Every scrape counts, but only this many of a window are kept: a rate covers at least 14/15 of its
# window, and is divided by the time that it covers.
_ROWS = 15
# Without a window.
_LAST_TWO = 2
# How many series a page may have for their weight to be worth remembering.
_FEW = 16
# The bytes of a track in addition to its contents, with its place in the history. An array may have
# an eighth more than it needs.
_TRACK_BYTES = 1024
_VALUE_BYTES = 9


class Increase(Struct, frozen=True):
    """How much the counters of a page grew.

    Attributes:
        seconds: the time between the two scrapes, above 0.
        of: the growth of each series that is on the page now.
    """

    seconds: float
    of: Series


class Track:
    """The scrapes of one page, for one reading and one window.

    Args:
        window: the window, in seconds; 0 looks back to the last scrape.

    Attributes:
        at: when the newest scrape was.
        keys: the series that were on the page then.
    """

    __slots__ = ("_last", "_rows", "_total", "_window", "at", "keys")

    def __init__(self, window: int) -> None:
        self.at = float("-inf")
        self.keys: tuple[Key, ...] = ()
        self._window = window
        # Of each series, one after the other: its values, and their growth since its first.
        self._last = array("d")
        self._total = array("d")
        # Earlier scrapes, in order: the time, and the growth until then.
        self._rows = array("d")

    @staticmethod
    def size(series: Series, label_bytes: int, window: int) -> int:
        """Return the bytes of a track with these series, once its window has filled."""
        width = sum(map(len, series.values()))
        rows = _ROWS + 1 if window else _LAST_TWO
        return _TRACK_BYTES + label_bytes + _VALUE_BYTES * (2 * width + rows * (1 + width))

    def record(self, at: float, series: Series) -> None:
        """Record a scrape that is later than the newest."""
        values = array("d", chain.from_iterable(series.values()))
        keys = tuple(series)
        if keys != self.keys:
            self._arrange(keys, values)
        self._total = array("d", map(add, self._total, self._growth(values)))
        self._last = values
        self.at = at
        rows, step = self._rows, 1 + len(values)
        if not rows or at >= rows[-step] + self._window / _ROWS:
            rows.append(at)
            rows.extend(self._total)
        while rows[0] < at - self._window if self._window else len(rows) > _LAST_TWO * step:
            del rows[:step]

    def increase(self) -> Increase | None:
        """Return the growth from the oldest scrape within the window to the newest, if they differ.

        A series that has appeared since then has grown from its first value.
        """
        seconds = self.at - self._rows[0]
        if seconds <= 0:
            return None
        before = self._rows[1 : 1 + len(self._total)]
        grown = tuple(map(sub, self._total, before))
        of = {key: grown[start:end] for key, start, end in _places(self.keys)}
        return Increase(seconds, of)

    def _growth(self, values: "array[float]") -> "array[float]":
        """Return how much each value has grown since the last scrape of the same series."""
        last = self._last
        grown = array("d", map(sub, values, last))
        if any(map(lt, values, last)):
            for _, start, end in _places(self.keys):
                one = values[start:end]
                if any(map(lt, one, last[start:end])):
                    grown[start:end] = one
        return grown

    def _arrange(self, keys: tuple[Key, ...], values: "array[float]") -> None:
        """Let these be the series: some have appeared with these values, some are gone.

        All series of a page may be others in each scrape, so this moves whole scrapes at a time.
        """
        known = {key: start for key, start, _ in _places(self.keys)}
        # Where each value was before; those that have appeared were at 0, after all others.
        new = len(self._total)
        before: list[int] = []
        for key in keys:
            start, width = known.get(key, new), _width(key)
            before += range(start, start + width) if start < new else repeat(new, width)
        rows = array("d")
        for at in range(0, len(self._rows), 1 + new):
            rows.append(self._rows[at])
            rows.extend(map([*self._rows[at + 1 : at + 1 + new], 0.0].__getitem__, before))
        self._rows = rows
        self._total = array("d", map([*self._total, 0.0].__getitem__, before))
        old = zip(before, values, strict=True)
        self._last = array("d", [self._last[at] if at < new else value for at, value in old])
        self.keys = keys


# The pods of a workload have the same series.
_known_weight = lru_cache(maxsize=128)(weight)


def label_bytes(series: Series) -> int:
    """Return the bytes of the labels and bounds of these series."""
    keys = tuple(series)
    return _known_weight(keys) if len(keys) <= _FEW else weight(keys)


def _width(key: Key) -> int:
    return len(key[1]) or 1


def _places(keys: tuple[Key, ...]) -> Iterator[tuple[Key, int, int]]:
    """Yield each series, and where its values begin and end in an array of all of them."""
    start = 0
    for key in keys:
        end = start + _width(key)
        yield key, start, end
        start = end
