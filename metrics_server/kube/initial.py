"""The initial events of a watch: everything that exists, then a bookmark that ends them.

The protocol: https://kubernetes.io/docs/reference/using-api/api-concepts/, under "Streaming lists".
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Generic, TypeVar

from msgspec import Raw

from metrics_server.errors import KubernetesError
from metrics_server.kube.wire import (
    INITIAL_EVENTS_END,
    MALFORMED,
    Change,
    decode_object,
    malformed,
    read_event,
)

Item = TypeVar("Item")

# All initial events arrive within this time, and with shorter pauses: an API server that does not
# know them may send what exists without marking its end, and then changes.
_SECONDS = 60
_PAUSE_SECONDS = 5

INITIAL_EVENTS: Mapping[str, str] = {
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
}
"""The parameters of a watch that begins with everything that exists."""


class InitialEvents(Generic[Item]):
    """Collects the events of a watch until everything that exists has been sent.

    Args:
        path: of the collection, for messages.
        decode: as for a `Reflector`.

    Attributes:
        items: what existed when the watch began.
        changes: what has changed since, in order.
        unreadable: why objects were skipped.
        version: the version of the cluster at the end; "" until then.
    """

    def __init__(self, path: str, decode: Callable[[Raw], Item]) -> None:
        self.items: list[Item] = []
        self.changes: list[tuple[Change, Item]] = []
        self.unreadable: list[str] = []
        self.version = ""
        self._path = path
        self._decode = decode

    async def read(self, lines: AsyncIterator[bytes]) -> None:
        """Collect the events of a watch until the end of the initial ones.

        Raises:
            KubernetesError: it does not come, or an event is wrong.
        """
        now = asyncio.get_running_loop().time
        latest = now() + _SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_SECONDS) as pause:
                async for line in lines:
                    self._take(line)
                    if self.version:
                        return
                    if not self.changes:
                        pause.reschedule(min(latest, now() + _PAUSE_SECONDS))
        raise KubernetesError(f"a watch of {self._path} did not send everything that exists")

    def _take(self, line: bytes) -> None:
        """Collect one watch event.

        Raises:
            KubernetesError: it is an error, cannot be decoded, or is an ordinary bookmark, which
                an API server sends that does not know initial events.
        """
        event = read_event(line, self._path)
        if event.type == "BOOKMARK":
            self._end(event.object)
            return
        try:
            item = self._decode(event.object)
        except MALFORMED as error:
            self.unreadable.append(str(error))  # one must not affect the others
            return
        if event.type == "ADDED" and not self.changes:
            self.items.append(item)
        else:
            self.changes.append((event.type, item))

    def _end(self, bookmark: Raw) -> None:
        try:
            metadata = decode_object(bookmark).metadata
        except MALFORMED as error:
            raise malformed(self._path, error) from error
        if bytes((metadata.annotations or {}).get(INITIAL_EVENTS_END, b"")) != b'"true"':
            raise KubernetesError(
                f"a watch of {self._path} does not mark the end of its initial events",
                HTTPStatus.OK,
            )
        self.version = metadata.resource_version
