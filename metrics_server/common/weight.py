"""Caches that hold so many bytes, for what callers send: a count alone bounds no memory."""

import sys
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from msgspec import Struct

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_KEPT_CHARACTERS = 256
"""Longer texts of callers are answered and not kept, where a cache counts its entries."""

# What the cache itself takes for an entry: its place in two dictionaries, and their objects.
_ENTRY_BYTES = 512
_LEAST_ENTRIES = 16


class BytesLRU(Generic[K, V]):
    """Values by key; the one that was used the longest ago goes when the bytes run out.

    Args:
        max_bytes: of all keys and values together. What takes more than a sixteenth of it is not
            kept, so that one does not push out all others.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        # With their sizes, in the order of use.
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """How many bytes they are counted as."""
        return self._bytes

    def get(self, key: K) -> V | None:
        """The value for a key, if it is kept."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value that takes so many bytes together with its key, by `weight`."""
        self.pop(key)
        size += _ENTRY_BYTES
        if size * _LEAST_ENTRIES > self._max_bytes:
            return
        while self._bytes + size > self._max_bytes:
            _, (_, gone) = self._entries.popitem(last=False)
            self._bytes -= gone
        self._entries[key] = (value, size)
        self._bytes += size

    def pop(self, key: K) -> None:
        """Forget the value for a key, if it is kept."""
        _, old = self._entries.pop(key, (None, 0))
        self._bytes -= old

    def clear(self) -> None:
        """Forget all of them."""
        self._entries.clear()
        self._bytes = 0


def weight(value: object) -> int:
    """The bytes of a value and of all that it holds: structs, tuples, sets and mappings.

    What is shared is counted each time, so that it is never too little.
    """
    total = 0
    pending = [value]
    while pending:
        one = pending.pop()
        total += sys.getsizeof(one)
        if isinstance(one, Struct):
            pending += [getattr(one, name) for name in one.__struct_fields__]
            # What is computed once and kept beside the fields.
            pending += getattr(one, "__dict__", {}).values()
        elif isinstance(one, dict):
            pending += [*one.keys(), *one.values()]
        elif isinstance(one, tuple | list | set | frozenset):
            pending += one
    return total
