"""The part of the Kubernetes API that the product and `kubectl get` use, on loopback.

It serves an `ObjectStore` by the real protocol
(https://kubernetes.io/docs/reference/using-api/api-concepts/): paged lists, watches with bookmarks,
versions that expire, errors as Statuses. Its owner puts the objects into the store; over HTTP most
of them are read-only (see `simulator.kube.writes`).
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import msgspec
from aiohttp import web

from metrics_server.simulator.kube.api_faults import ApiFaults
from metrics_server.simulator.kube.api_objects import (
    Selection,
    bookmark,
    document,
    line,
    list_of,
    page_of,
    selection_of,
)
from metrics_server.simulator.kube.objects import (
    RESOURCES,
    ExpiredError,
    Json,
    Object,
    ObjectStore,
    Resource,
)
from metrics_server.simulator.kube.pod_proxy import PodProxy
from metrics_server.simulator.kube.statuses import (
    StatusDetails,
    StatusError,
    method_not_allowed,
    not_served,
    response_of,
)
from metrics_server.simulator.kube.tables import table_of
from metrics_server.simulator.kube.watches import Watch, check_watch, wants_table
from metrics_server.simulator.kube.writes import WRITABLE, written

if TYPE_CHECKING:
    from yarl import URL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Control = Callable[[web.Request, Resource, Object], Awaitable[Object | None]]
Explain = Callable[[web.Request, StatusError], web.Response]


class KubernetesAPI:
    """Serves the objects of a store as the Kubernetes API does. An async context manager.

    Args:
        host: the address to listen on.
        port: the port; 0 for a free one.
        ssl_context: the TLS context; None for plain HTTP.
        bookmark_seconds: how often to send a bookmark to each watch.

    Attributes:
        store: the objects.
        requests: the URLs of the latest requests, oldest first.
        faults: the faults.
        version: of Kubernetes.
        writable: the resources that can be written over HTTP.
        control: makes the change that a write to an object of another resource requests, as its
            controller would, and returns the answer; None if that write is not allowed.
        explain: returns the answer to a request that failed, from what kube-apiserver would answer.
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
        self.version = "v1.36.0-simulated"
        self.writable: Sequence[Resource] = WRITABLE
        self.control: Control = _never
        self.explain: Explain = lambda _request, error: response_of(error)
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._bookmark_seconds = bookmark_seconds
        self._watches: set[Watch] = set()
        self.faults = ApiFaults(self.store, self._watches)
        self._aggregated: dict[tuple[str, ...], Handler] = {}
        self._pod_proxy = PodProxy(self.store)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        # A watch is canceled as soon as its client disconnects, not at its next event.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)

    async def __aenter__(self) -> Self:
        await self._pod_proxy.__aenter__()
        await self._runner.setup()
        self._listener = socket.create_server((self._host, self._port))
        await web.SockSite(self._runner, self._listener, ssl_context=self._ssl_context).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener.fileno() == -1:
            return  # closed already
        # A client that loses its watch reconnects at once, and asyncio can lose a connection that
        # it accepts just before the listener closes: stop accepting, and let those begin first.
        asyncio.get_running_loop().remove_reader(self._listener)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.faults.drop_watches()
        await self._runner.cleanup()
        await self._pod_proxy.__aexit__()

    @property
    def url(self) -> str:
        """The URL of the API."""
        host, port, *_ = self._runner.addresses[0]
        return f"{'https' if self._ssl_context else 'http'}://{host}:{port}"

    @property
    def open_watches(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def apply(self, resource: Resource, obj: Object) -> Object:
        """Create or replace an object."""
        return self.store.apply(resource, obj)

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object; a KeyError if it does not exist."""
        self.store.delete(resource, namespace, name)

    def aggregate(self, group: str, version: str, handler: Handler) -> None:
        """Forward every request under /apis/GROUP/VERSION, and list the group in discovery."""
        self._aggregated[group, version] = handler

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.rel_url)
        try:
            self.faults.refuse(request.path)
            response = await self._route(request)
        except StatusError as error:
            response = self.explain(request, error)
        if (date := self.faults.date) and not response.prepared:
            response.headers["Date"] = date
        return response

    async def _route(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        if handler := self._aggregated.get(tuple(parts[1:3])):
            return await handler(request)
        if parts[0] in ("healthz", "livez", "readyz"):
            return web.Response(text="ok")
        found = document(parts, self._aggregated, self.version)
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
        if rest[0] == "pods" and rest[2:3] == ["proxy"] and namespace and request.method == "GET":
            return await self._pod_proxy.forward(request, namespace, rest[1], "/".join(rest[3:]))
        found = (r for r in RESOURCES if (r.group, r.version, r.name) == (group, version, rest[0]))
        resource = next(found, None)
        if resource is None or (namespace is not None and not resource.namespaced):
            raise not_served()
        if request.method != "GET":
            return await self._write(request, resource, namespace or "", rest)
        match rest:
            case [_]:
                selection = selection_of(request.query, namespace, resource)
                if request.query.get("watch") in ("true", "1"):
                    return await self._watch(request, resource, selection)
                return self._list(request, resource, selection)
            case [_, name] if (namespace is not None) == resource.namespaced:
                obj = self.store.get(resource, namespace or "", name)
                if obj is None:
                    details = StatusDetails(name=name, group=resource.group, kind=resource.name)
                    raise StatusError(404, f'{resource.qualified} "{name}" not found', details)
                if wants_table(request, resource):
                    return _json(table_of(resource, [obj], {}))
                return _json(obj)
        raise not_served()

    async def _write(
        self, request: web.Request, resource: Resource, namespace: str, rest: list[str]
    ) -> web.Response:
        name = rest[1] if rest[1:] else None
        if resource not in self.writable:
            last = self.store.get(resource, namespace, name or "")
            answer = await self.control(request, resource, last) if last else None
            if answer is None:
                raise method_not_allowed()
            return _json(answer)
        return _json(*await written(self.store, request, resource, namespace, name))

    def _list(self, request: web.Request, resource: Resource, selection: Selection) -> web.Response:
        meta, objects = page_of(self.store, resource, selection, request.query)
        if wants_table(request, resource):
            return _json(table_of(resource, objects, meta))
        return _json(list_of(resource, meta, objects))

    async def _watch(
        self, request: web.Request, resource: Resource, selection: Selection
    ) -> web.StreamResponse:
        check_watch(request.query, streams_lists=self.faults.streams_lists)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            await response.prepare(request)
        except ConnectionResetError:
            return response  # the client is gone
        watch = Watch(request, response, resource, selection)
        unsubscribe = self.store.subscribe(watch.wake.set)
        self._watches.add(watch)
        try:
            await self._stream(watch)
        except ConnectionResetError:
            pass  # the client is gone
        except ExpiredError as error:
            message = f"too old resource version: {watch.version} ({error.oldest})"
            await response.write(line("ERROR", StatusError(410, message).status))
        finally:
            self._watches.discard(watch)
            unsubscribe()
        return response

    async def _stream(self, watch: Watch) -> None:
        query = watch.request.query
        clock = asyncio.get_running_loop().time
        end = clock() + (float(query.get("timeoutSeconds") or 0) or 1800)
        due = clock() + self._bookmark_seconds
        if watch.streams_list and (events := self.faults.initial_events()) is not None:
            await watch.break_off(self.store, events)
            return
        await watch.begin(self.store)
        while True:
            await self.faults.silence()
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


async def _never(_request: web.Request, _resource: Resource, _last: Object) -> None:
    return None


def _json(body: Mapping[str, Json], code: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=code, content_type="application/json"
    )
