"""A proxy in front of the Kubernetes API that can fail in every way that an API can."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from metrics_server.simulator import manifests
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from metrics_server.wiring.options import ServeOptions
from tests.faults.raw import RawServer
from tests.support.exporters import PageExporter, page
from tests.support.harness import write_kubeconfig
from tests.support.objects import pod

_BOOKMARK_SECONDS = 0.05


@dataclass(frozen=True)
class Exchange:
    """A request to the Kubernetes API, and its client's connection.

    Attributes:
        url: of the request.
        reader: what the client sends.
        writer: to the client.
        upstream: forwards the request; returns the response's stream, from its head on.
    """

    url: URL
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    upstream: Callable[[], Awaitable[asyncio.StreamReader]]

    @property
    def is_watch(self) -> bool:
        """Whether it requests a watch."""
        return self.url.query.get("watch") == "true"

    async def respond(self, status: int, body: bytes, headers: str = "") -> None:
        """Respond instead of the API."""
        head = (
            f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n{headers}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    async def refuse(self, status: int, message: str, headers: str = "") -> None:
        """Respond with a Status."""
        await self.respond(status, status_object(status, message), headers)

    async def pass_on(self, insert: bytes = b"") -> None:
        """Pass on the API's response, with an extra first chunk of the body if given."""
        answer = await self.upstream()
        self.writer.write(await answer.readuntil(b"\r\n\r\n"))
        if insert:
            self.writer.write(chunk(insert))
        while data := await answer.read(65536):
            self.writer.write(data)
            await self.writer.drain()

    async def stream(self, body: bytes = b"") -> None:
        """Respond to a watch with these bytes, and leave it open."""
        self.writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + (chunk(body) if body else b"")
        )
        await self.writer.drain()


Fault = Callable[[Exchange], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    """A chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def status_object(code: int, message: str) -> bytes:
    """A Status, as the API reports an error."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
    return json.dumps({**status, "message": message, "code": code}).encode()


class Proxy(RawServer):
    """Forwards requests, each over its own connection, or does what a fault says.

    Args:
        port: of the Kubernetes API, which serves no TLS.
        context: to serve TLS with.

    Attributes:
        fault: replaces requests' handling; None while all is well.
        faulted: how many requests it has handled.
    """

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(self._exchange, context)
        self.fault: Fault | None = None
        self.faulted = 0
        self._upstream_port = port

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        async with AsyncExitStack() as stack:

            async def upstream() -> asyncio.StreamReader:
                answer, request = await asyncio.open_connection("127.0.0.1", self._upstream_port)
                stack.callback(request.close)
                request.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                # There are no bodies here: an administrator needs no reviews.
                return answer

            url = URL(head.split()[1].decode(), encoded=True)
            exchange = Exchange(url, reader, writer, upstream)
            if self.fault is None:
                await exchange.pass_on()
            else:
                self.faulted += 1
                await self.fault(exchange)


@dataclass(frozen=True)
class Behind:
    """A cluster whose Kubernetes API is behind the proxy.

    Attributes:
        api: the Kubernetes API itself.
        trust: certificates and reviews.
        proxy: in front of it.
        options: flags of a server.
        exporter: on the node gpu-0: pod a is at 20 %, and b at 80 %.
    """

    api: KubernetesAPI
    trust: SimulatedTrust
    proxy: Proxy
    options: ServeOptions
    exporter: PageExporter


@asynccontextmanager
async def behind_proxy(folder: Path) -> AsyncIterator[Behind]:
    """A cluster of one node with two pods, behind a proxy.

    Args:
        folder: for its files.
    """
    authority = Authority("kubernetes")
    context = await asyncio.to_thread(context_from_pair, authority.issue(["127.0.0.1"]))
    text = page({("default", "a"): [20], ("default", "b"): [80]})
    async with (
        KubernetesAPI(bookmark_seconds=_BOOKMARK_SECONDS) as api,
        PageExporter(text) as exporter,
        Proxy(URL(api.url).port or 0, context) as proxy,
    ):
        trust = SimulatedTrust(api)
        for name in ("a", "b"):
            api.apply(PODS, pod(name))
        api.apply(ENDPOINT_SLICES, manifests.endpoint_slice("gpu-0", exporter.port))
        kubeconfig = folder / "kubeconfig"
        write_kubeconfig(kubeconfig, f"https://127.0.0.1:{proxy.port}", authority.bundle)
        options = ServeOptions(kubeconfig=kubeconfig, secure_port=0)
        yield Behind(api, trust, proxy, options, exporter)
