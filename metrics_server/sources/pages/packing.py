"""Compresses the texts of pages while all of them take too much memory.

Most questions need only what was parsed already. Another metric, or a question about GPUs that pods
share, needs the text again.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Generic, Protocol, TypeVar

from metrics_server.sources.pages.room import PageRoom

# The pages of 1,000 nodes with 8 GPUs.
_MAX_BYTES = 64 * 1024 * 1024
# How many texts are compressed before the oldest are looked for again.
_AT_ONCE = 16


class Packable(Protocol):
    """A page."""

    def pack(self) -> None:
        """Compress the text of the page."""
        ...


P = TypeVar("P", bound=Packable)


class Packer(Generic[P]):
    """Compresses the texts of the oldest pages, in a thread.

    Args:
        max_bytes: how many bytes the texts of all pages may take uncompressed.
    """

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        # Those that are not compressed, the oldest first.
        self._pages: dict[PageRoom, P] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pack")
        self._job: asyncio.Future[None] | None = None

    def add(self, room: PageRoom, page: P) -> None:
        """Watch over a page, whose size its room knows."""
        self._pages[room] = page
        self._bytes += room.size
        self._start()

    def remove(self, room: PageRoom) -> None:
        """Forget the page that has this room."""
        if self._pages.pop(room, None) is not None:
            self._bytes -= room.size

    def _start(self) -> None:
        if self._job is not None or self._bytes <= self._max_bytes:
            return
        oldest = [*islice(self._pages.items(), _AT_ONCE)]
        for room, _ in oldest:
            self.remove(room)
        loop = asyncio.get_running_loop()
        self._job = loop.run_in_executor(self._thread, _pack, [page for _, page in oldest])
        self._job.add_done_callback(self._end)

    def _end(self, job: asyncio.Future[None]) -> None:
        self._job = None
        if not job.cancelled():
            job.result()
            self._start()


def _pack(pages: Sequence[Packable]) -> None:
    for page in pages:
        page.pack()
