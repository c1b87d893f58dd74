"""The open watches of the simulated Kubernetes API."""

import asyncio
from collections import deque

from aiohttp import web

from metrics_server.simulator.kube.api_objects import Selection, line, seen_as
from metrics_server.simulator.kube.objects import Object, ObjectStore, Resource
from metrics_server.simulator.kube.tables import has_table, table_of


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
        self._table = wants_table(request, resource)

    async def send(self, kind: str, obj: Object) -> None:
        """Send one change."""
        shown = table_of(self.resource, [obj], {}) if self._table else obj
        await self.response.write(line(kind, shown))

    async def begin(self, store: ObjectStore) -> None:
        """Send every existing object as ADDED, if no version was requested."""
        if self.version == 0:
            self.version = store.version
            for obj in store.snapshot(self.resource, self.version).values():
                if self.selection.matches(obj):
                    await self.send("ADDED", obj)

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


def wants_table(request: web.Request, resource: Resource) -> bool:
    """Whether a request wants objects as the table that kubectl prints."""
    return has_table(resource) and "as=Table" in request.headers.get("Accept", "")
