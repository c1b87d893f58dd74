"""Remembers what the labels on exporters' last pages mean: they seldom change."""

from sys import getsizeof
from threading import Lock

from cachetools import LRUCache

from metrics_server.sources.exporters.inventory import KnownRows

# Enough for 10,000 nodes with 8 GPUs each.
_MOST_BYTES = 64 * 1024 * 1024
# For one exporter.
_MOST_PAGE = 256 * 1024
# The bytes of a row in addition to its text.
_ROW_BYTES = 500


class RememberedRows:
    """What the labels on the last page of each recently scraped exporter mean.

    The same text always has the same meaning, so no value depends on an earlier page.
    """

    def __init__(self) -> None:
        self._rows: LRUCache[str, KnownRows] = LRUCache(_MOST_BYTES, getsizeof=_size)
        # Long pages are read in threads.
        self._lock = Lock()

    def of(self, target: str) -> KnownRows:
        """Return the labels on the last page from a URL, in the order in which they were read."""
        with self._lock:
            return self._rows.get(target, {})

    def keep(self, target: str, rows: KnownRows) -> None:
        """Remember the labels on the newest page from a URL, unless it has none.

        An exporter that has just started has none, and its next page has the same as before.
        """
        with self._lock:
            before = self._rows.get(target, {})
            if not rows or before.keys() == rows.keys():
                return
            # A copy, because another thread may add rows at this moment.
            kept = dict(rows)
            if _size(kept) <= _MOST_PAGE:
                self._rows[target] = kept


def _size(rows: KnownRows) -> int:
    # In Python a text with a single emoji takes four bytes per character.
    return sum(map(getsizeof, rows)) + _ROW_BYTES * len(rows)
