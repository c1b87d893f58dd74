"""Reads that several checks need, each done once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Shared(Generic[K, T]):
    """The results of reads, by what was read; also their errors. Close it."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    async def get(self, key: K, read: Callable[[], Coroutine[object, object, T]]) -> T:
        """Return what a read returned, or raise what it raised.

        A caller that is canceled leaves the read to the others.
        """
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(read(), name=f"read {key}")
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Cancel the reads that are still under way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
