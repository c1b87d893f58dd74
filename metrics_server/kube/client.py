"""The door to the Kubernetes API: bytes of JSON in, errors as sentences out.

The official client is used for what is hard to get right and changes with the platform: finding
the configuration, TLS, credential plugins, tokens that rotate. Its names carry no types; they end
in this module.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import aiohttp
import msgspec
import structlog
import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config

from metrics_server.errors import ConfigurationError, KubernetesError

Loaded = TypeVar("Loaded")

# A watch event holds one object and etcd takes none above 1.5 MiB by default; above this, what
# comes is no event.
MAX_EVENT_BYTES = 16 * 1024 * 1024

_CONNECT_SECONDS = 10
# As often as client-go reads a projected token anew (k8s.io/client-go/transport/token_source.go).
_REFRESH_SECONDS = 60
# The last four are what the client raises at a file that is no kubeconfig.
_UNUSABLE = (
    ConfigException,
    yaml.YAMLError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)
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
    api, load = await asyncio.to_thread(_prepare, kubeconfig)
    # The client's own session would not notice a peer that is gone.
    api.rest_client.pool_manager = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=api.rest_client.ssl_context, socket_factory=keepalive_socket
        ),
        trust_env=True,
    )
    return KubernetesClient(api, load)


class KubernetesClient:
    """Asks the Kubernetes API. Made by `connect`; to be closed.

    Args:
        api: the official client.
        load: reads the credentials anew; it may block.
    """

    def __init__(self, api: ApiClient, load: Callable[[], None]) -> None:
        self._api = api
        self._load = load
        self._refresh_at = time.monotonic() + _REFRESH_SECONDS

    @property
    def host(self) -> str:
        """The URL of the API server."""
        return str(self._api.configuration.host)

    async def close(self) -> None:
        """Close every connection."""
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
        async with self._open(path, query, limits) as response:
            try:
                return await response.read()
            except _UNREACHABLE as error:
                raise self._unreachable(error) from error

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
        async with (
            self._open(path, query, limits) as response,
            aclosing(self._lines(response)) as lines,
        ):
            yield lines

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
        self, path: str, query: Mapping[str, str], limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        await self._refresh()
        request = await self._api.param_serialize(
            "GET",
            path,
            query_params=dict(query),
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._api.call_api(*request, _request_timeout=limits)
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

    async def _refresh(self) -> None:
        """Read the credentials anew when it is time; meanwhile other calls use what there is."""
        now = time.monotonic()
        if now < self._refresh_at:
            return
        self._refresh_at = now + _REFRESH_SECONDS
        try:
            await asyncio.to_thread(self._load)
        except _UNUSABLE as error:
            # If they are not good any more, the API says so.
            log.warning("kept the credentials, as they cannot be read anew", error=_told(error))

    async def _refusal(self, response: aiohttp.ClientResponse) -> KubernetesError:
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._refresh_at = 0.0
        try:
            message = msgspec.json.decode(await response.read(), type=_Status).message
        except (*_UNREACHABLE, msgspec.DecodeError):
            message = ""
        told = message or f"{self.host} answered {response.status} {response.reason}"
        return KubernetesError(told, response.status)

    def _unreachable(self, error: Exception) -> KubernetesError:
        why = str(error) or "it did not answer in time"
        return KubernetesError(f"the Kubernetes API at {self.host} cannot be reached: {why}")


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


def _prepare(kubeconfig: Path | None) -> tuple[ApiClient, Callable[[], None]]:
    """The official client, configured, and what reads its credentials anew. Reads files."""
    configuration = Configuration()
    source, load = _source(configuration, kubeconfig)
    try:
        reload = load()
        api = ApiClient(configuration)
    except _UNUSABLE as error:
        raise ConfigurationError(f"{source} cannot be used: {_told(error)}") from None
    api.user_agent = "gpu-metrics-server"
    return api, reload


def _source(
    configuration: Configuration, kubeconfig: Path | None
) -> tuple[str, Callable[[], Callable[[], None]]]:
    """Where the configuration comes from, in words, and what loads it."""
    # $KUBECONFIG can name several files, which are merged.
    files = str(kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    if any(Path(file).expanduser().exists() for file in files.split(os.pathsep) if file):
        return f"the kubeconfig {files}", lambda: _from_kubeconfig(configuration, files)
    if kubeconfig is not None:
        raise ConfigurationError(f"the kubeconfig {kubeconfig} does not exist")
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise ConfigurationError(
            f"no way to a Kubernetes API: {files} does not exist, and this is no pod of a cluster "
            "(KUBERNETES_SERVICE_HOST is not set); give --kubeconfig FILE or set KUBECONFIG"
        )
    return "the service account of this pod", lambda: _from_service_account(configuration)


def _from_kubeconfig(configuration: Configuration, files: str) -> Callable[[], None]:
    loader = _run_in_this_thread(
        load_kube_config(files, client_configuration=configuration, persist_config=False)
    )
    return lambda: _run_in_this_thread(loader.load_and_set(configuration))


def _run_in_this_thread(loading: Coroutine[object, object, Loaded]) -> Loaded:
    """Run what reads files, and may run a credential plugin, apart from the server's event loop."""
    return asyncio.run(loading)


def _from_service_account(configuration: Configuration) -> Callable[[], None]:
    def load() -> None:
        load_incluster_config(configuration, try_refresh_token=False)

    load()
    return load


def _told(error: Exception) -> str:
    """What an error says, without the part of a kubeconfig that the client may put into it."""
    return str(error).partition("{")[0]
