"""What a hostile peer does to a server or to a scrape."""

import asyncio
import itertools
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import cache

from msgspec import Struct

from tests.support.gpu_labels import gpu_of
from tests.support.peers import HOST

METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"
_FIELD = "DCGM_FI_DEV_GPU_UTIL"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


class Target(Struct, frozen=True):
    """The server under attack: its port, and how to connect without and with a certificate."""

    port: int
    anonymous: ssl.SSLContext
    proxy: ssl.SSLContext

    async def connect(
        self, number: int, *, proxy: bool = False, tls: bool = True
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection from one of several addresses."""
        plain = socket.socket()
        plain.setblocking(False)  # noqa: FBT003 - it is how sockets have it
        plain.bind((f"127.0.0.{2 + number % 16}", 0))
        try:
            await asyncio.get_running_loop().sock_connect(plain, (HOST, self.port))
            context = self.proxy if proxy else self.anonymous
            return await asyncio.open_connection(
                sock=plain,
                ssl=context if tls else None,
                server_hostname=HOST if tls else None,
                limit=1024,
            )
        except BaseException:
            plain.close()
            raise


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]
Behave = Callable[[socket.socket], None]


class Peer(Struct, frozen=True):
    """A hostile peer.

    Attributes:
        name: its name.
        does: what it does, for the table.
        talk: what it does on each of its connections, if it is a caller.
        connections: how many of them it keeps open at once.
        proxy: whether it has a front proxy's certificate: a tenant's requests come that way.
        tls: whether it starts TLS.
        behave: what it does on each connection, if it is an exporter.
        exporters: how many there are.
        api: what the Kubernetes API does.
    """

    name: str
    does: str
    talk: Talk | None = None
    connections: int = 20
    proxy: bool = False
    tls: bool = True
    behave: Behave | None = None
    exporters: int = 1
    api: str = ""


def http_request(target: str, *headers: str, method: str = "GET") -> bytes:
    """A complete request without a body."""
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: x", *headers, "", "")).encode()


def sends(make: Callable[[int], bytes]) -> Talk:
    """Send one request after another, and read the answers, while the connection lasts."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        for request in itertools.count(number << 24):
            writer.write(make(request))
            await writer.drain()
            if not await reader.read(65536):
                return

    return talk


def holds(data: bytes) -> Talk:
    """Send some bytes, and wait."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(data)
        await writer.drain()
        await reader.read()

    return talk


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
    """Send an endless head, byte by byte."""
    ended = asyncio.create_task(reader.read())
    for byte in itertools.cycle(b"X: long\r"):
        writer.write(bytes([byte]))
        await asyncio.wait([ended], timeout=0.1)
        if ended.done():
            await ended  # it may raise a reset
            return


async def never_read(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
    """Send requests, and read no answer."""
    request = http_request("/openapi/v2", "X-Remote-User: jo")
    while not writer.is_closing():
        writer.write(request * 50)
        await writer.drain()


def sends_page(make: Callable[[], bytes]) -> Behave:
    """Serve a page, which is made when it is first requested."""

    @cache
    def whole() -> bytes:
        body = make()
        return _HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body

    return lambda connection: connection.sendall(whole())


def rows(count: int, labels: Callable[[int], str]) -> bytes:
    """Rows of a page, each with the labels for its number."""
    return "".join(f"{_FIELD}{{{labels(i)}}} {i % 100}\n" for i in range(count)).encode()


def endless_interim(connection: socket.socket) -> None:
    """Send interim answers endlessly."""
    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000
    while True:
        connection.sendall(flood)


def hang(connection: socket.socket) -> None:
    """Read the request, and never answer."""
    connection.recv(65536)


def drip_page(connection: socket.socket) -> None:
    """Serve a page byte by byte."""
    connection.sendall(_HEAD + b"Content-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"#")
        time.sleep(0.05)


def cut_page(connection: socket.socket) -> None:
    """Serve half a page, and close."""
    body = rows(1000, gpu_of)
    connection.sendall(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2])


def selector(n: int) -> bytes:
    """A question with a long selector, different for each number."""
    values = ",".join(f"v{n}x{i}" for i in range(600))
    return http_request(f"{METRIC}?labelSelector=app+notin+({values})", "X-Remote-User: jo")
