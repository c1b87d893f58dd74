"""The part of the Kubernetes API that the product and `kubectl get` use, on loopback.

It speaks the real protocol (https://kubernetes.io/docs/reference/using-api/api-concepts/) over an
`ObjectStore`: lists in pages, watches with bookmarks, versions that expire, errors as Statuses.
Objects are put there by its owner; over HTTP most can only be read (see `simulator.kube.writes`).
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Self

import msgspec
from aiohttp import web

from metrics_server.simulator.kube.api_objects import (
    Selection,
    bookmark,
    document,
    line,
    list_of,
    page_of,
    seen_as,
    selection_of,
)
from metrics_server.simulator.kube.objects import (
    PODS,
    RESOURCES,
    ExpiredError,
    Json,
    Object,
    ObjectStore,
    Resource,
)
from metrics_server.simulator.kube.pod_table import table_of
from metrics_server.simulator.kube.statuses import Status, StatusDetails, StatusError, not_served
from metrics_server.simulator.kube.writes import written

if TYPE_CHECKING:
    from yarl import URL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Watch:
    """A watch that is open: what it is about, how far it is, and what is still to be written."""

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
        self._table = _wants_table(request, resource)

    async def send(self, kind: str, obj: Object) -> None:
        """Write one change."""
        await self.response.write(line(kind, table_of([obj], {}) if self._table else obj))

    async def begin(self, store: ObjectStore) -> None:
        """Where no version was asked for, what there is comes first, as if it were added."""
        if self.version == 0:
            self.version = store.version
            for obj in store.snapshot(self.resource, self.version).values():
                if self.selection.matches(obj):
                    await self.send("ADDED", obj)

    async def catch_up(self, store: ObjectStore) -> None:
        """Write all that has happened; an ExpiredError if not all of it is known any more."""
        self.wake.clear()
        now = store.version
        for event in store.since(self.resource, self.version):
            if kind := seen_as(event, self.selection):
                await self.send(kind, event.object)
        self.version = now
        while self.injected:
            await self.response.write(self.injected.popleft())


class KubernetesAPI:
    """Serves the objects of a store as the Kubernetes API does. An async context manager.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        ssl_context: serves TLS with it; None serves plain HTTP.
        bookmark_seconds: how often a watch is sent a bookmark.

    Attributes:
        store: what is served.
        requests: what was asked for last, oldest first.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        bookmark_seconds: float = 60,
    ) -> None:
        self.store = ObjectStore()
        self.requests: deque[URL] = deque(maxlen=1000)
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._bookmark_seconds = bookmark_seconds
        self._failures: deque[StatusError] = deque()
        self._watches: set[_Watch] = set()
        self._silent = False
        self._aggregated: dict[tuple[str, ...], Handler] = {}
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        # A watch whose client has gone is ended, rather than kept until its next event.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._ssl_context)
        await site.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drop_watches()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where it serves."""
        host, port, *_ = self._runner.addresses[0]
        return f"{'https' if self._ssl_context else 'http'}://{host}:{port}"

    @property
    def open_watches(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def apply(self, resource: Resource, obj: Object) -> Object:
        """Put an object in its place."""
        return self.store.apply(resource, obj)

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Take an object away; a KeyError if there is none."""
        self.store.delete(resource, namespace, name)

    def compact(self) -> None:
        """Let every version before the present one expire."""
        self.store.compact()

    def drop_watches(self) -> None:
        """Break the connection of every watch."""
        for watch in self._watches:
            if watch.request.transport is not None:
                watch.request.transport.abort()

    def inject(self, text: bytes) -> None:
        """Send a line to every open watch as it is."""
        for watch in self._watches:
            watch.injected.append(text)
            watch.wake.set()

    def silence_watches(self) -> None:
        """From now on watches stay open, and say nothing."""
        self._silent = True

    def fail_watches(self, code: int, message: str) -> None:
        """Send an ERROR event to every open watch."""
        self.inject(line("ERROR", StatusError(code, message).status))

    def fail_next(self, code: int, message: str, *, times: int = 1) -> None:
        """Answer the next requests by a Status instead."""
        self._failures.extend([StatusError(code, message)] * times)

    def aggregate(self, group: str, version: str, handler: Handler) -> None:
        """Hand every request under /apis/GROUP/VERSION over; discovery names the group."""
        self._aggregated[group, version] = handler

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.rel_url)
        try:
            if self._failures:
                raise self._failures.popleft()
            return await self._route(request)
        except StatusError as error:
            return _json(error.status, error.status.code)

    async def _route(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if handler := self._aggregated.get(tuple(parts[1:3])):
            return await handler(request)
        if parts[0] in ("healthz", "livez", "readyz"):
            return web.Response(text="ok")
        found = document(parts, self._aggregated)
        if found is not None:
            return _json(found)
        match parts:
            case ["api", version, *rest]:
                return await self._resource(request, "", version, rest)
            case ["apis", group, version, *rest]:
                return await self._resource(request, group, version, rest)
        raise not_served()

    async def _resource(
        self, request: web.Request, group: str, version: str, rest: list[str]
    ) -> web.StreamResponse:
        namespace: str | None = None
        if rest[0] == "namespaces" and len(rest) > 2:  # noqa: PLR2004 - namespaces/NAME/RESOURCE
            namespace, *rest = rest[1:]
        found = (r for r in RESOURCES if (r.group, r.version, r.name) == (group, version, rest[0]))
        resource = next(found, None)
        if resource is None or (namespace is not None and not resource.namespaced):
            raise not_served()
        if request.method != "GET":
            name = rest[1] if rest[1:] else None
            return _json(*await written(self.store, request, resource, namespace or "", name))
        match rest:
            case [_]:
                selection = selection_of(request.query, namespace)
                if request.query.get("watch") in ("true", "1"):
                    return await self._watch(request, resource, selection)
                return self._list(request, resource, selection)
            case [_, name] if (namespace is not None) == resource.namespaced:
                obj = self.store.get(resource, namespace or "", name)
                if obj is None:
                    details = StatusDetails(name=name, group=resource.group, kind=resource.name)
                    raise StatusError(404, f'{resource.qualified} "{name}" not found', details)
                return _json(table_of([obj], {}) if _wants_table(request, resource) else obj)
        raise not_served()

    def _list(self, request: web.Request, resource: Resource, selection: Selection) -> web.Response:
        meta, objects = page_of(self.store, resource, selection, request.query)
        if _wants_table(request, resource):
            return _json(table_of(objects, meta))
        return _json(list_of(resource, meta, objects))

    async def _watch(
        self, request: web.Request, resource: Resource, selection: Selection
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        watch = _Watch(request, response, resource, selection)
        unsubscribe = self.store.subscribe(watch.wake.set)
        self._watches.add(watch)
        try:
            await self._stream(watch)
        except ExpiredError as error:
            message = f"too old resource version: {watch.version} ({error.oldest})"
            await response.write(line("ERROR", StatusError(410, message).status))
        finally:
            self._watches.discard(watch)
            unsubscribe()
        return response

    async def _stream(self, watch: _Watch) -> None:
        query = watch.request.query
        clock = asyncio.get_running_loop().time
        end = clock() + (float(query.get("timeoutSeconds") or 0) or 1800)
        due = clock() + self._bookmark_seconds
        await watch.begin(self.store)
        while True:
            if self._silent:
                await asyncio.Event().wait()
            await watch.catch_up(self.store)
            try:
                async with asyncio.timeout_at(min(end, due)):
                    await watch.wake.wait()
            except TimeoutError:
                if watch.wake.is_set():
                    continue
                due = clock() + self._bookmark_seconds
                if query.get("allowWatchBookmarks") == "true":
                    await watch.response.write(
                        line("BOOKMARK", bookmark(watch.resource, watch.version))
                    )
                if clock() >= end:
                    return


def _wants_table(request: web.Request, resource: Resource) -> bool:
    return resource == PODS and "as=Table" in request.headers.get("Accept", "")


def _json(body: Mapping[str, Json] | Status, code: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=code, content_type="application/json"
    )
