"""The HPAs that ask for our metrics, kept up to date by a reflector."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import structlog

from metrics_server.common.outages import Outage
from metrics_server.kube.autoscalers import Autoscaler

Key = tuple[str, str]

# The records of some 10,000 HPAs.
_MAX_BYTES = 16 * 1024 * 1024

log = structlog.stdlib.get_logger(__name__)


class AutoscalerStore:
    """The HPAs that may ask for our metrics; the others, which have no metrics here, are dropped.

    Args:
        changed: called with the namespace and name of each HPA that is added, changed or removed.
        max_bytes: of all records. Beyond that, further HPAs are not kept.
    """

    def __init__(self, changed: Callable[[Key], None], *, max_bytes: int = _MAX_BYTES) -> None:
        self._changed = changed
        self._max_bytes = max_bytes
        self._bytes = 0
        self._items: dict[Key, Autoscaler] = {}
        self._full = Outage(log, "too many HPAs to check all of them", "all HPAs are checked")

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Key) -> Autoscaler | None:
        """Return the HPA of a namespace and name, if it is kept."""
        return self._items.get(key)

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the namespaces and names of all HPAs."""
        return iter(self._items)

    def in_namespace(self, namespace: str) -> list[Autoscaler]:
        """Return the HPAs of a namespace."""
        return [item for item in self._items.values() if item.namespace == namespace]

    def replace(self, items: Iterable[Autoscaler]) -> None:
        """Replace all HPAs."""
        before, self._items, self._bytes = self._items, {}, 0
        self._full.recovered()
        for item in items:
            self._keep(item)
        for key in before.keys() | self._items.keys():
            if before.get(key) != self._items.get(key):
                self._changed(key)

    def apply(self, kind: Literal["ADDED", "MODIFIED", "DELETED"], item: Autoscaler) -> None:
        """Apply one change."""
        key = item.namespace, item.name
        before = self._items.pop(key, None)
        if before is not None:
            self._bytes -= before.bytes
        if kind != "DELETED":
            self._keep(item)
        # Its status changes every few seconds, mostly in what is not kept here.
        if self._items.get(key) != before:
            self._changed(key)

    def _keep(self, item: Autoscaler) -> None:
        if not item.metrics:
            return
        if self._bytes + item.bytes > self._max_bytes:
            self._full.failed(f"their records would take more than {self._max_bytes} bytes")
            return
        self._bytes += item.bytes
        self._items[item.namespace, item.name] = item
