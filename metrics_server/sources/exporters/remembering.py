"""Remembers what the labels on exporters' last pages mean: they seldom change."""

from threading import Lock

from cachetools import LRUCache

from metrics_server.sources.exporters.inventory import KnownRows

# Enough for 12,000 nodes with 8 GPUs each.
_MOST_BYTES = 64 * 1024 * 1024
# Of one exporter. Long pages keep their labels, too (`Sheet`).
_MOST_PAGE = 256 * 1024
# What a row takes beside its text.
_ROW_BYTES = 400


class RememberedRows:
    """What the labels on the last page of each exporter mean; those scraped lately are kept.

    The same text always means the same, so no value depends on an earlier page.
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
        """Remember the labels on the newest page from a URL."""
        with self._lock:
            before = self._rows.get(target)
            if (before is None or before.keys() != rows.keys()) and _size(rows) <= _MOST_PAGE:
                self._rows[target] = dict(rows)


def _size(rows: KnownRows) -> int:
    return sum(map(len, rows)) + _ROW_BYTES * len(rows)
