"""How much the counters of one page grew within a window.

A counter that goes down was reset, usually because the engine restarted: it counts from 0 again, as
in Prometheus. A series counts from the first value that was read of it, and starts over if it comes
back. A histogram is one series, whose buckets are reset together.
"""

from array import array
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
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
    def size(keys: tuple[Key, ...], window: int) -> int:
        """Return the bytes of a track with these series, once its window has filled."""
        width = sum(map(_width, keys))
        rows = _ROWS + 1 if window else _LAST_TWO
        of_keys = _known_weight(keys) if len(keys) <= _FEW else weight(keys)
        return _TRACK_BYTES + of_keys + _VALUE_BYTES * (2 * width + rows * (1 + width))

    def record(self, at: float, series: Series) -> None:
        """Record a scrape that is later than the newest."""
        values = array("d", chain.from_iterable(series.values()))
        keys = tuple(series)
        if keys != self.keys:
            self._arrange(keys, values)
        start = 0
        for one in series.values():
            end = start + len(one)
            last, total = self._last[start:end], self._total[start:end]
            is_reset = any(map(lt, one, last))
            grown = one if is_reset else map(sub, one, last)
            self._total[start:end] = array("d", map(add, total, grown))
            start = end
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
        of = {key: grown[start:end] for key, (start, end) in _places(self.keys).items()}
        return Increase(seconds, of)

    def _arrange(self, keys: tuple[Key, ...], values: "array[float]") -> None:
        """Let these be the series: some have appeared with these values, some are gone."""
        known, places = _places(self.keys), _places(keys)
        old_step = 1 + len(self._total)

        def moved(old: "array[float]", new: "array[float]") -> "array[float]":
            for key, (start, end) in places.items():
                if key in known:
                    begin, stop = known[key]
                    new[start:end] = old[begin:stop]
            return new

        rows = array("d")
        nothing = array("d", bytes(8 * len(values)))
        for at in range(0, len(self._rows), old_step):
            rows.append(self._rows[at])
            rows.extend(moved(self._rows[at + 1 : at + old_step], nothing[:]))
        self._rows = rows
        self._total = moved(self._total, nothing[:])
        self._last = moved(self._last, values[:])
        self.keys = keys


# The pods of a workload have the same series.
_known_weight = lru_cache(maxsize=128)(weight)


def _width(key: Key) -> int:
    return len(key[1]) or 1


def _places(keys: tuple[Key, ...]) -> Mapping[Key, tuple[int, int]]:
    """Return where the values of each series are in an array of all of them."""
    places: dict[Key, tuple[int, int]] = {}
    start = 0
    for key in keys:
        places[key] = start, start + _width(key)
        start += _width(key)
    return places
