"""Caches bounded by bytes, for what callers send: a count alone does not bound memory."""

import sys
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from msgspec import Struct, structs

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_KEPT_CHARACTERS = 256
"""Longer texts are answered but not cached, where a cache is bounded by count."""

# Most of what is weighed is of these, which contain nothing.
_PLAIN = frozenset({str, bytes, int, float, bool, type(None)})

# The cache's own memory per entry: its place in two dictionaries, and their objects.
_ENTRY_BYTES = 512


class BytesLRU(Generic[K, V]):
    """Values by key; the least recently used are dropped when the bytes run out.

    Args:
        max_bytes: of all keys and values together.
        least_entries: how many of the largest have room: larger ones are not kept, so that one
            does not evict all others.
    """

    def __init__(self, max_bytes: int, *, least_entries: int = 16) -> None:
        self._max_bytes = max_bytes
        self._most_each = max_bytes // least_entries
        self._bytes = 0
        # With their sizes, in order of use.
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        return self._bytes

    def get(self, key: K) -> V | None:
        """The value for a key, if there is one."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value; `size` is its `weight` plus that of its key."""
        self.pop(key)
        size += _ENTRY_BYTES
        if size > self._most_each:
            return
        while self._bytes + size > self._max_bytes:
            _, (_, gone) = self._entries.popitem(last=False)
            self._bytes -= gone
        self._entries[key] = (value, size)
        self._bytes += size

    def pop(self, key: K) -> None:
        """Remove the value for a key, if there is one."""
        _, old = self._entries.pop(key, (None, 0))
        self._bytes -= old

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self._bytes = 0


def weight(value: object) -> int:
    """The bytes of a value and of everything it contains: structs, tuples, sets and mappings.

    Shared objects are counted each time, so the result is never too small.
    """
    total = 0
    pending = [value]
    while pending:
        one = pending.pop()
        total += sys.getsizeof(one)
        if type(one) in _PLAIN:
            continue
        if isinstance(one, Struct):
            pending += structs.astuple(one)
            # Values cached beside the fields.
            pending += getattr(one, "__dict__", {}).values()
        elif isinstance(one, dict):
            pending += [*one.keys(), *one.values()]
        elif isinstance(one, tuple | list | set | frozenset):
            pending += one
    return total
