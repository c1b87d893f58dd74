"""Look-ups with a time to live: bounded, and one at a time for each key."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from msgspec import Struct

from metrics_server.common.weight import BytesLRU, weight

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Kept(Struct, Generic[V], frozen=True):
    value: V
    until: float


class _UnderWay(Struct, Generic[V]):
    task: asyncio.Task[V]
    waiting: int = 0


class SharedLookups(Generic[K, V]):
    """Values that are looked up elsewhere, by key.

    A value is kept for `ttl`, counted from the start of its look-up, so none is ever older. Callers
    who ask for a key while it is being looked up share the result, be it a value or an error.
    Errors are not kept.

    Args:
        ttl: how long a value is kept, in seconds.
        max_bytes: of keys and values together; the least recently used are dropped.
        least_entries: how many of the largest have room; larger ones are not kept.
        size: returns the bytes of a value.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        *,
        ttl: float,
        max_bytes: int,
        least_entries: int = 16,
        size: Callable[[V], int] = weight,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = ttl
        self._clock = clock
        self._kept: BytesLRU[K, _Kept[V]] = BytesLRU(max_bytes, least_entries=least_entries)
        self._size = size
        self._under_way: dict[K, _UnderWay[V]] = {}

    async def get(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        """The value for a key.

        Args:
            key: everything that the value depends on.
            load: looks it up, and should have a time limit. Called only if no value is kept and no
                look-up of the key is under way; cancelled when all its callers are.

        Raises:
            Exception: whatever `load` raises.
        """
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept.until:
            return kept.value
        under_way = self._under_way.get(key)
        if under_way is None or under_way.task.done():
            task = asyncio.create_task(self._load(key, load), name="look-up")
            under_way = self._under_way[key] = _UnderWay(task)
        under_way.waiting += 1
        try:
            # A caller that gives up leaves the look-up to the others.
            return await asyncio.shield(under_way.task)
        finally:
            under_way.waiting -= 1
            if not under_way.waiting:
                under_way.task.cancel()
                if self._under_way.get(key) is under_way:
                    del self._under_way[key]

    def forget(self, key: K) -> None:
        """Look a key up again next time, even if a look-up is under way now."""
        self._kept.pop(key)
        self._under_way.pop(key, None)

    async def _load(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        began = self._clock()
        value = await load()
        under_way = self._under_way.get(key)
        # Unless it was forgotten meanwhile.
        if under_way is not None and under_way.task is asyncio.current_task():
            size = weight(key) + self._size(value)
            self._kept.put(key, _Kept(value, began + self._ttl), size)
        return value
