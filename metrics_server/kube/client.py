"""The door to the Kubernetes API: bytes of JSON in, errors as sentences out.

The names of the official client carry no types; they end here and in `kube.credentials`.
"""

import asyncio
import socket
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
from metrics_server.http.sockets import why
from metrics_server.kube.credentials import UNUSABLE, load_credentials, told

# A watch event holds one object and etcd takes none above 1.5 MiB by default; above this, what
# comes is no event.
MAX_EVENT_BYTES = 16 * 1024 * 1024

_CONNECT_SECONDS = 10
# A watch is answered at once; only what happens in the cluster is waited for.
_OPEN_SECONDS = 30
# Apart from watches, which have a pool of their own: neither can take the other's connections.
_MAX_CONNECTIONS = 100
# As often as client-go reads a projected token anew (k8s.io/client-go/transport/token_source.go).
_REFRESH_SECONDS = 60
# More would be no time that anybody waits for.
_MAX_DIGITS = 6
_UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError)

log = structlog.stdlib.get_logger(__name__)


class _Status(msgspec.Struct):
    message: str = ""


async def connect(kubeconfig: Path | None) -> "KubernetesClient":
    """A client for the cluster that the configuration names; nothing is asked of it yet.

    Args:
        kubeconfig: the file to use; without it $KUBECONFIG (or else ~/.kube/config) where it
            exists, else the service account of the pod that this runs in.

    Raises:
        ConfigurationError: no configuration was found, or the one found cannot be used.
    """
    api, load = await asyncio.to_thread(load_credentials, kubeconfig)
    api.rest_client.pool_manager = _session(api, _MAX_CONNECTIONS)
    watching = copy(api)
    watching.rest_client = copy(api.rest_client)
    watching.rest_client.pool_manager = _session(api, 0)
    return KubernetesClient(api, watching, load)


def _session(api: ApiClient, connections: int) -> aiohttp.ClientSession:
    """A pool of at most so many connections; 0 is no bound.

    The official client's own would not notice a peer that is gone.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections, ssl=api.rest_client.ssl_context, socket_factory=keepalive_socket
        ),
        trust_env=True,
    )


class KubernetesClient:
    """Asks the Kubernetes API. Made by `connect`; to be closed.

    Args:
        api: the official client.
        watching: the same, with a pool of connections for watches alone.
        load: reads the credentials anew; it may block.
    """

    def __init__(self, api: ApiClient, watching: ApiClient, load: Callable[[], None]) -> None:
        self._api = api
        self._watching = watching
        self._load = load
        self._refresh_at = time.monotonic() + _REFRESH_SECONDS
        self._outage = Outage(
            log,
            "kept the credentials, as they cannot be read anew",
            "the credentials can be read again",
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

    async def get(self, path: str, query: Mapping[str, str], *, timeout: float) -> bytes:  # noqa: ASYNC109 - it is handed on to aiohttp, which tells what timed out
        """The body of the answer to a GET.

        Args:
            path: from the root, such as /api/v1/pods.
            query: its parameters, not yet encoded.
            timeout: for the whole answer, in seconds.

        Raises:
            KubernetesError: the answer is not a 2xx, or none came.
        """
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_SECONDS)
        async with self._open("GET", path, limits, query=query) as response:
            return await self._read(response)

    async def send(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        path: str,
        body: Struct | Mapping[str, object],
        *,
        timeout: float,  # noqa: ASYNC109 - as for `get`
    ) -> bytes:
        """The body of the answer to a request that writes, or that asks for a review.

        Args:
            method: PATCH is a JSON merge patch (RFC 7386).
            path: as for `get`.
            body: what is sent, as JSON.
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
        self, path: str, query: Mapping[str, str], *, silence: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A stream of lines, each one watch event, as bytes of JSON.

        Args:
            path: as for `get`.
            query: as for `get`; with watch=true.
            silence: how long nothing may come before the connection counts as lost, in seconds.

        Raises:
            KubernetesError: the answer is not a 2xx, or none came; while reading: the connection
                was lost, or a line is longer than MAX_EVENT_BYTES.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence)
        async with AsyncExitStack() as stack:
            opening = self._open("GET", path, limits, query=query, api=self._watching)
            try:
                async with asyncio.timeout(_OPEN_SECONDS):
                    response = await stack.enter_async_context(opening)
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
        except _UNREACHABLE as error:
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
                # A connection that the API had closed as idle: once more, on another.
                answer = await api.call_api(*request, _request_timeout=limits)
            response: aiohttp.ClientResponse = answer.response
        except _UNREACHABLE as error:
            raise self._unreachable(error) from error
        try:
            if not response.ok:
                raise await self._refusal(response)
            yield response
        finally:
            # A connection whose answer was read whole has gone back to the pool already.
            response.close()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.read()
        except _UNREACHABLE as error:
            raise self._unreachable(error) from error

    async def _refresh(self) -> None:
        """Read the credentials anew when it is time; meanwhile other calls use what there is."""
        now = time.monotonic()
        if now < self._refresh_at:
            return
        self._refresh_at = now + _REFRESH_SECONDS
        try:
            await asyncio.to_thread(self._load)
        except UNUSABLE as error:
            # If they are not good any more, the API says so.
            self._outage.failed(told(error))
        else:
            self._outage.recovered()

    async def _refusal(self, response: aiohttp.ClientResponse) -> KubernetesError:
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._refresh_at = 0.0
        try:
            message = msgspec.json.decode(await response.read(), type=_Status).message
        except (*_UNREACHABLE, msgspec.DecodeError):
            message = ""
        told = message or f"{self.host} answered {response.status} {response.reason}"
        return KubernetesError(told, response.status, _retry_after(response))

    def _unreachable(self, error: Exception) -> KubernetesError:
        match error:
            case TimeoutError():
                told = "it did not answer in time"
            case aiohttp.ClientPayloadError():
                told = "it broke its answer off"
            case _:
                told = why(error)
        return KubernetesError(f"the Kubernetes API at {self.host} cannot be reached: {told}")


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds, as the Kubernetes API tells them; a date is nothing that it sends."""
    told = response.headers.get("Retry-After", "")
    return float(told) if told.isascii() and told.isdigit() and len(told) <= _MAX_DIGITS else None


def keepalive_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices within a minute that its peer is gone.

    A watch only listens, so without probes a peer that vanished is waited for as long as the
    watch lasts, and the pods known here grow old. client-go has HTTP/2 pings for this.
    """
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made
