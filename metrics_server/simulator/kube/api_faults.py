"""The faults of the simulated Kubernetes API."""

import asyncio
import time
from collections import deque
from collections.abc import Set as AbstractSet
from email.utils import formatdate

from metrics_server.simulator.kube.api_objects import line
from metrics_server.simulator.kube.objects import ObjectStore
from metrics_server.simulator.kube.statuses import StatusError
from metrics_server.simulator.kube.watches import Watch


class ApiFaults:
    """One-off faults, one per method.

    Args:
        store: the API's objects.
        watches: the open watches.

    Attributes:
        streams_lists: whether a watch may ask for initial events: the feature gate WatchList.
    """

    def __init__(self, store: ObjectStore, watches: AbstractSet[Watch]) -> None:
        self._store = store
        self._watches = watches
        self.streams_lists = True
        self._cut_after: int | None = None
        self._silent = False
        self._refusals: deque[StatusError] = deque()
        self._forbidden: list[str] = []
        self._skew = 0.0

    def skew_clock(self, seconds: float) -> None:
        """Let the API's clock be ahead of ours by these seconds, from now on."""
        self._skew = seconds

    @property
    def date(self) -> str:
        """The Date header of answers; "" for that of this machine's clock."""
        return formatdate(time.time() + self._skew, usegmt=True) if self._skew else ""

    def refuse_next(self, code: int, message: str, *, times: int = 1) -> None:
        """Answer the next requests with a Status instead."""
        self._refusals.extend([StatusError(code, message)] * times)

    def forbid(self, path: str) -> None:
        """Answer every request whose path contains this with a 403, from now on."""
        self._forbidden.append(path)

    def allow(self, path: str) -> None:
        """Answer these requests again, after `forbid`."""
        self._forbidden.remove(path)

    def cut_next_stream(self, events: int) -> None:
        """Break the next watch that asks for initial events after some of them."""
        self._cut_after = events

    def initial_events(self) -> int | None:
        """Called by the API: how many initial events to send; None for all."""
        cut_after, self._cut_after = self._cut_after, None
        return cut_after

    def drop_watches(self) -> None:
        """Break the connection of every watch."""
        for watch in self._watches:
            if watch.request.transport is not None:
                watch.request.transport.abort()

    def fail_watches(self, code: int, message: str) -> None:
        """Send an ERROR event to every open watch."""
        self.send_to_watches(line("ERROR", StatusError(code, message).status))

    def send_to_watches(self, text: bytes) -> None:
        """Send a line, unchanged, to every open watch."""
        for watch in self._watches:
            watch.injected.append(text)
            watch.wake.set()

    def silence_watches(self) -> None:
        """Send nothing to any watch from now on, and leave them all open."""
        self._silent = True
        for watch in self._watches:
            watch.wake.set()

    def expire_versions(self) -> None:
        """Expire every version before the current one."""
        self._store.compact()

    def refuse(self, path: str) -> None:
        """Called by the API for each request.

        Raises:
            StatusError: the request must be refused.
        """
        if self._refusals:
            raise self._refusals.popleft()
        if any(part in path for part in self._forbidden):
            raise StatusError(403, f"{path} is forbidden")

    async def silence(self) -> None:
        """Called by the API before it sends anything to a watch."""
        if self._silent:
            await asyncio.Event().wait()
