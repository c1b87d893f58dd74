"""Limits how many bytes the series of all pods' pages take at a time."""

from threading import Lock
from weakref import WeakKeyDictionary

from metrics_server.sources.pods.rows import Found

MAX_BYTES = 64 * 1024 * 1024
# Of each page, not counted: some dozens of series, so that long pages never keep out ordinary ones.
_FREE_BYTES = 32 * 1024
# What a series takes, each of its labels, with texts of ordinary length, and each of its values.
_SERIES_BYTES = 400
_LABEL_BYTES = 300
_VALUE_BYTES = 32


def size_of(found: Found) -> int:
    """Return about how many bytes the series of a reading take; counting them would take long."""
    keys = (*found.series, *found.doubts)
    values = sum(map(len, found.series.values()))
    labels = sum(len(of_key) for of_key, _ in keys)
    return _SERIES_BYTES * len(keys) + _LABEL_BYTES * labels + _VALUE_BYTES * values


class SeriesRoom:
    """The bytes that the series of long pages share, for as long as there are these pages.

    Pages are parsed in several threads.

    Args:
        limit: how many bytes they may take together.
    """

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self._limit = limit
        self._held: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._lock = Lock()

    def hold(self, page: object, size: int) -> bool:
        """Let a page have so many bytes in all; return False, and change nothing, without room."""
        if size <= _FREE_BYTES:
            return True
        with self._lock:
            others = sum(self._held.values()) - self._held.get(page, 0)
            if others + size > self._limit:
                return False
            self._held[page] = size
            return True
