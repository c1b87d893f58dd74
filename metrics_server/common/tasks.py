"""Background tasks that do not end unnoticed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import structlog

log = structlog.stdlib.get_logger(__name__)


@asynccontextmanager
async def background(
    name: str, run: Callable[[], Coroutine[object, object, None]]
) -> AsyncIterator[asyncio.Task[None]]:
    """Run a task while the context lasts; if it ends earlier, log why."""
    task = asyncio.create_task(run(), name=name)
    task.add_done_callback(_log_end)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def _log_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        log.error("background task ended", task=task.get_name(), exc_info=task.exception())
