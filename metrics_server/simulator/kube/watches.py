"""The open watches of the simulated Kubernetes API."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice

from aiohttp import web

from metrics_server.simulator.kube.api_objects import Selection, bookmark, line, seen_as
from metrics_server.simulator.kube.objects import Object, ObjectStore, Resource
from metrics_server.simulator.kube.statuses import StatusError
from metrics_server.simulator.kube.tables import has_table, table_of

# How many bytes of initial events are sent at once.
_BATCH_BYTES = 64 * 1024


class Watch:
    """An open watch: its selection, its version, and the lines still to send."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        resource: Resource,
        selection: Selection,
    ) -> None:
        self.request = request
        self.response = response
        self.resource = resource
        self.selection = selection
        self.version = int(request.query.get("resourceVersion") or "0")
        self.wake = asyncio.Event()
        self.injected: deque[bytes] = deque()
        self.streams_list = request.query.get("sendInitialEvents") == "true"
        self._table = wants_table(request, resource)

    async def send(self, kind: str, obj: Object) -> None:
        """Send one change."""
        await self.response.write(self._line(kind, obj))

    def _line(self, kind: str, obj: Object) -> bytes:
        return line(kind, table_of(self.resource, [obj], {}) if self._table else obj)

    async def begin(self, store: ObjectStore) -> None:
        """Send every existing object as ADDED, if that or no version was requested."""
        if self.version and not self.streams_list:
            return
        self.version = store.version
        batch = bytearray()
        for text in self._existing(store):
            batch += text
            if len(batch) > _BATCH_BYTES:
                await self.response.write(bytes(batch))
                batch.clear()
        await self.response.write(bytes(batch))
        if self.streams_list:
            await self.catch_up(store)
            end = bookmark(self.resource, self.version, ends_initial_events=True)
            await self.response.write(line("BOOKMARK", end))

    async def break_off(self, store: ObjectStore, events: int) -> None:
        """Send some of the existing objects, and break the connection."""
        self.version = store.version
        for text in islice(self._existing(store), events):
            await self.response.write(text)
        if self.request.transport is not None:
            self.request.transport.close()

    def _existing(self, store: ObjectStore) -> Iterator[bytes]:
        for obj in store.snapshot(self.resource, self.version).values():
            if self.selection.matches(obj):
                yield self._line("ADDED", obj)

    async def catch_up(self, store: ObjectStore) -> None:
        """Send every change since; an ExpiredError if some of them are no longer known."""
        self.wake.clear()
        now = store.version
        for event in store.since(self.resource, self.version):
            if kind := seen_as(event, self.selection):
                await self.send(kind, event.object)
        self.version = now
        while self.injected:
            await self.response.write(self.injected.popleft())


def check_watch(query: Mapping[str, str], *, streams_lists: bool) -> None:
    """Check the parameters of a watch that concern initial events.

    Args:
        query: the parameters.
        streams_lists: whether the API offers initial events: the feature gate WatchList.

    Raises:
        StatusError: they are not allowed.
    """
    asks, match = query.get("sendInitialEvents"), query.get("resourceVersionMatch")
    if asks is None and match is None:
        return
    if not streams_lists and asks is not None:
        problem = (
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the "
            "WatchList feature gate is enabled"
        )
    elif asks is None:
        problem = (
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless "
            "sendInitialEvents is provided"
        )
    elif match != "NotOlderThan":
        problem = (
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting "
            "resourceVersionMatch to NotOlderThan"
        )
    else:
        return
    raise StatusError(422, f'ListOptions.meta.k8s.io "" is invalid: {problem}')


def wants_table(request: web.Request, resource: Resource) -> bool:
    """Whether a request wants objects as the table that kubectl prints."""
    return has_table(resource) and "as=Table" in request.headers.get("Accept", "")
