"""Limits how many bytes the pages of all exporters take at a time."""

_FREE_BYTES = 512 * 1024
"""Far more than the page of a node with 8 GPUs: long pages never leave such a page without room."""


class Room:
    """The bytes that long pages share. The first half MiB of each page is not counted.

    Args:
        limit: how many bytes all pages together may take beyond that.

    Attributes:
        taken: how many bytes are taken.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0


class PageRoom:
    """The bytes that one page takes.

    Args:
        room: shared by all pages.

    Attributes:
        size: how long the page has been so far.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0
        self.size = 0

    def grow(self, size: int) -> bool:
        """Let the page grow to this size; if there is no room, release its bytes and return False.

        Its scrape ends then. If they were released only after that, all pages that grow at the same
        pace would fail.
        """
        self.size = size
        more = max(0, size - _FREE_BYTES) - self._taken
        if self._room.taken + more > self._room.limit:
            self.release()
            return False
        self._room.taken += more
        self._taken += more
        return True

    def release(self) -> None:
        """Release the bytes of this page."""
        self._room.taken -= self._taken
        self._taken = 0
