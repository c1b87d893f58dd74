"""A cache bounded by bytes that owners share: none of them can crowd out the others."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedCache(Generic[K, V]):
    """Values by owner and key.

    When the bytes run out, values that are no longer of use are dropped, then those of the owner
    that has the most. An owner that would then have the most itself gets no more: its own values
    stay, since values that are used in turn would otherwise each be dropped before their next use.

    Args:
        max_bytes: of all keys and values together.
        is_over: whether a value is no longer of use.
    """

    def __init__(self, max_bytes: int, is_over: Callable[[V], bool]) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._is_over = is_over
        # With their sizes; the least recently used first.
        self._entries: OrderedDict[tuple[str, K], tuple[V, int]] = OrderedDict()
        self._keys: dict[str, OrderedDict[K, None]] = {}
        self._shares: dict[str, int] = {}

    def __len__(self) -> int:
        """How many values there are."""
        return len(self._entries)

    def get(self, owner: str, key: K) -> V | None:
        """Return the value for a key, if there is one."""
        entry = self._entries.get((owner, key))
        return None if entry is None else entry[0]

    def use(self, owner: str, key: K) -> V | None:
        """Return the value for a key, if there is one, as the most recently used."""
        entry = self._entries.get((owner, key))
        if entry is None:
            return None
        self._entries.move_to_end((owner, key))
        self._keys[owner].move_to_end(key)
        return entry[0]

    def put(self, owner: str, key: K, value: V, size: int) -> bool:
        """Keep a value for a new key, with that many bytes; return whether there was room."""
        while self.bytes + size > self._max_bytes and self._entries:
            (first, other), (oldest, _) = next(iter(self._entries.items()))
            if not self._is_over(oldest):
                break
            self._drop(first, other)
        while self.bytes + size > self._max_bytes:
            largest = max(self._shares, key=self._shares.__getitem__, default=owner)
            if self._shares.get(largest, 0) <= self._shares.get(owner, 0) + size:
                return False
            self._drop(largest, next(iter(self._keys[largest])))
        self._entries[owner, key] = (value, size)
        self._keys.setdefault(owner, OrderedDict())[key] = None
        self._shares[owner] = self._shares.get(owner, 0) + size
        self.bytes += size
        return True

    def _drop(self, owner: str, key: K) -> None:
        _, size = self._entries.pop((owner, key))
        self.bytes -= size
        self._shares[owner] -= size
        del self._keys[owner][key]
        if not self._keys[owner]:
            del self._keys[owner], self._shares[owner]
