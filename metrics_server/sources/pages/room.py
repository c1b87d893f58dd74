"""How many bytes the pages of all exporters may take at a time."""

_FREE_BYTES = 512 * 1024
"""Far above the page of a node with 8 GPUs: no exporter's long page can keep such a page out."""


class Room:
    """Bytes that long pages share. Each page has its first half MiB in any case.

    Args:
        limit: how many bytes all pages together may take beyond those.

    Attributes:
        taken: how many they take.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0


class PageRoom:
    """The room that one page takes.

    Args:
        room: shared by all pages.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def grow(self, size: int) -> bool:
        """Let the page have this size; False if there is no room for that."""
        more = max(0, size - _FREE_BYTES) - self._taken
        if self._room.taken + more > self._room.limit:
            return False
        self._room.taken += more
        self._taken += more
        return True

    def release(self) -> None:
        """Give the room back."""
        self._room.taken -= self._taken
        self._taken = 0
