"""The client of the Kubernetes API: returns bytes of JSON, and raises errors that people can read.

The official client is untyped: only this module, `kube.sessions` and `kube.credentials` use it.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from copy import copy
from http import HTTPStatus
from pathlib import Path
from typing import Literal

import aiohttp
import msgspec
import structlog
from kubernetes.aio.client.api_client import ApiClient
from msgspec import Struct

from metrics_server.common.outages import Outage
from metrics_server.errors import KubernetesError
from metrics_server.http.sockets import KeepaliveSockets
from metrics_server.kube.answers import UNREACHABLE, Fetched, refusal, unreachable
from metrics_server.kube.credentials import UNUSABLE, load_credentials, printed
from metrics_server.kube.sessions import session

# A watch event contains one object, and etcd limits those to 1.5 MiB by default; anything above
# this is not an event.
MAX_EVENT_BYTES = 16 * 1024 * 1024

_CONNECT_SECONDS = 10
# A watch is answered at once; only its events take time.
_OPEN_SECONDS = 30
# Watches have a separate pool, so that neither can use up the other's connections.
_MAX_CONNECTIONS = 100
# As often as client-go reloads a projected token (k8s.io/client-go/transport/token_source.go).
_REFRESH_SECONDS = 60

log = structlog.stdlib.get_logger(__name__)


async def connect(kubeconfig: Path | None, context: str = "") -> "KubernetesClient":
    """Return a client for the cluster that the configuration names, without sending a request.

    Args:
        kubeconfig: the file to use; without it $KUBECONFIG (or else ~/.kube/config) if it exists,
            else the service account of the pod that this runs in.
        context: of the kubeconfig; "" for its current one.

    Raises:
        ConfigurationError: no configuration was found, or the one found is unusable.
    """
    api, load = await asyncio.to_thread(load_credentials, kubeconfig, context)
    sockets = KeepaliveSockets()
    api.rest_client.pool_manager = session(api, _MAX_CONNECTIONS, sockets)
    watching = copy(api)
    watching.rest_client = copy(api.rest_client)
    watching.rest_client.pool_manager = session(api, 0, sockets)
    return KubernetesClient(api, watching, load, sockets)


class KubernetesClient:
    """A client of the Kubernetes API. Create it with `connect`, and close it.

    Args:
        api: the official client.
        watching: the same, with a connection pool for watches only.
        load: reloads the credentials; it may block.
        sockets: make the connections of both.
    """

    def __init__(
        self,
        api: ApiClient,
        watching: ApiClient,
        load: Callable[[], None],
        sockets: KeepaliveSockets,
    ) -> None:
        self._api = api
        self._watching = watching
        self._load = load
        self._sockets = sockets
        self._refresh_at = time.monotonic() + _REFRESH_SECONDS
        self._outage = Outage(
            log,
            "credentials not reloaded, keeping the current ones",
            "credentials reloaded",
            each_error=True,
        )

    @property
    def host(self) -> str:
        """The URL of the API server."""
        return str(self._api.configuration.host)

    async def close(self) -> None:
        """Close every connection."""
        await self._watching.close()
        await self._api.close()
        await self._sockets.close()

    async def get(self, path: str, query: Mapping[str, str], *, timeout: float) -> bytes:  # noqa: ASYNC109 - aiohttp applies it, and says what timed out
        """Send a GET, and return the body of the answer.

        Args:
            path: from the root, such as /api/v1/pods.
            query: the parameters, not yet encoded.
            timeout: for the whole answer, in seconds.

        Raises:
            KubernetesError: the answer is not a 2xx, or none came.
        """
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_SECONDS)
        async with self._open("GET", path, limits, query=query) as response:
            return await self._read(response)

    async def fetch(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        timeout: float,  # noqa: ASYNC109 - as for `get`
        max_bytes: int,
    ) -> Fetched:
        """Send a GET, and return the answer whatever its status, such as that of a proxied pod.

        Args:
            path: as for `get`.
            query: as for `get`.
            timeout: as for `get`.
            max_bytes: how long the body may be.

        Raises:
            KubernetesError: no answer came, or its body is longer.
        """
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_SECONDS)
        body = bytearray()
        async with self._open("GET", path, limits, query=query, any_status=True) as response:
            try:
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > max_bytes:
                        raise KubernetesError(
                            f"{path} is longer than {max_bytes} bytes", response.status
                        )
            except UNREACHABLE as error:
                raise self._unreachable(error) from error
            return Fetched(response.status, bytes(body), response.headers.get("Date", ""))

    async def send(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        path: str,
        body: Struct | Mapping[str, object],
        *,
        timeout: float,  # noqa: ASYNC109 - as for `get`
    ) -> bytes:
        """Send a write or a review, and return the body of the answer.

        Args:
            method: PATCH sends a JSON merge patch (RFC 7386).
            path: as for `get`.
            body: the body, which is sent as JSON.
            timeout: as for `get`.

        Raises:
            KubernetesError: as for `get`.
        """
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_SECONDS)
        document = msgspec.to_builtins(body)
        async with self._open(method, path, limits, body=document) as response:
            return await self._read(response)

    @asynccontextmanager
    async def watch(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        silence: float,
        opening: float | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch: a stream of lines, each of them one watch event, as bytes of JSON.

        Args:
            path: as for `get`.
            query: as for `get`; with watch=true.
            silence: how long the stream may be silent before it counts as lost, in seconds.
            opening: how long the answer may take to begin; by default 30 seconds.

        Raises:
            KubernetesError: the answer is not a 2xx, or none came; while reading: the connection
                was lost, or a line is longer than MAX_EVENT_BYTES.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence)
        async with AsyncExitStack() as stack:
            answer = self._open("GET", path, limits, query=query, api=self._watching)
            try:
                async with asyncio.timeout(opening or _OPEN_SECONDS):
                    response = await stack.enter_async_context(answer)
            except TimeoutError as error:
                raise self._unreachable(error) from error
            yield await stack.enter_async_context(aclosing(self._lines(response)))

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        pending = bytearray()
        try:
            async for chunk in response.content.iter_any():
                head, *rest = chunk.split(b"\n")
                pending += head
                for piece in rest:
                    if pending:
                        yield bytes(pending)
                    pending = bytearray(piece)
                if len(pending) > MAX_EVENT_BYTES:
                    raise KubernetesError(
                        f"{self.host} sent a watch event of more than {MAX_EVENT_BYTES} bytes",
                        response.status,
                    )
        except UNREACHABLE as error:
            raise self._unreachable(error) from error
        if pending:
            yield bytes(pending)

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        limits: aiohttp.ClientTimeout,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        api: ApiClient | None = None,
        any_status: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        api = api or self._api
        await self._refresh()
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = await api.param_serialize(
            method,
            path,
            query_params=dict(query or {}),
            header_params={"Accept": "application/json", "Content-Type": content},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            try:
                answer = await api.call_api(*request, _request_timeout=limits)
            except aiohttp.ServerDisconnectedError:
                # The API had closed the connection as idle: retry once, on another. aiohttp itself
                # retries only what is idempotent, which reviews are not.
                answer = await api.call_api(*request, _request_timeout=limits)
            response: aiohttp.ClientResponse = answer.response
        except UNREACHABLE as error:
            raise self._unreachable(error) from error
        try:
            if not (response.ok or any_status):
                raise await self._refusal(response)
            yield response
        finally:
            # Once the answer was read completely, its connection is already back in the pool.
            response.close()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.read()
        except UNREACHABLE as error:
            raise self._unreachable(error) from error

    async def _refresh(self) -> None:
        """Reload the credentials when due; meanwhile other calls use the current ones."""
        now = time.monotonic()
        if now < self._refresh_at:
            return
        self._refresh_at = now + _REFRESH_SECONDS
        try:
            await asyncio.to_thread(self._load)
        except UNUSABLE as error:
            # If they are no longer valid, the API says so.
            self._outage.failed(printed(error))
        else:
            self._outage.recovered()

    async def _refusal(self, response: aiohttp.ClientResponse) -> KubernetesError:
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._refresh_at = 0.0
        return await refusal(self.host, response)

    def _unreachable(self, error: Exception) -> KubernetesError:
        return unreachable(self.host, error)
