"""The hostile peers.

`python -m tests.reliability.peers NAME FOLDER PORT` is one, until it is killed. It prints the ports
of its exporters first. FOLDER has the server's authority and the certificate of a front proxy.
"""

import asyncio
import itertools
import json
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from metrics_server.http.sockets import allow_open_files
from tests.support.peers import HOST, cut

METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"
_FIELD = "DCGM_FI_DEV_GPU_UTIL"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
_ANONYMOUS, _PROXY = False, True


class Target(Struct, frozen=True):
    """The server under attack: its port, and how to reach it without and with a certificate."""

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
        name: of it.
        does: what it does, for the table.
        talk: what it does on each of its connections, if it is a caller.
        connections: how many of them it keeps at once.
        proxy: whether it has the certificate of a front proxy: a tenant's requests come so.
        tls: whether it begins TLS.
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


def _request(target: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: x", *headers, "", "")).encode()


def _sends(make: Callable[[int], bytes]) -> Talk:
    """Send one request after the other, and take the answers, for as long as the peer keeps it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        for request in itertools.count(number << 24):
            writer.write(make(request))
            await writer.drain()
            if not await reader.read(65536):
                return

    return talk


def _holds(data: bytes) -> Talk:
    """Send some bytes, and stay."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(data)
        await writer.drain()
        await reader.read()

    return talk


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
    ended = asyncio.create_task(reader.read())
    for byte in itertools.cycle(b"X: long\r"):
        writer.write(bytes([byte]))
        await asyncio.wait([ended], timeout=0.1)
        if ended.done():
            await ended  # it may tell of a reset
            return


async def _never_read(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
    request = _request("/openapi/v2", "X-Remote-User: jo")
    while not writer.is_closing():
        writer.write(request * 50)
        await writer.drain()


def _sends_page(body: bytes) -> Behave:
    whole = _HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    return lambda connection: connection.sendall(whole)


def _rows(count: int, labels: Callable[[int], str]) -> bytes:
    return "".join(f"{_FIELD}{{{labels(i)}}} {i % 100}\n" for i in range(count)).encode()


def _gpu(i: int) -> str:
    return f'gpu="{i}",UUID="GPU-{i}",namespace="default",pod="pod-{i}",container="c"'


def _shared(i: int) -> str:
    return f'gpu="0",UUID="GPU-0",namespace="default",pod="pod-{i}",container="c"'


def _wordy(i: int) -> str:
    return f'{_gpu(i)},note="{"x" * 1000}"'


def _endless_interim(connection: socket.socket) -> None:
    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000
    while True:
        connection.sendall(flood)


def _hang(connection: socket.socket) -> None:
    connection.recv(65536)


def _drip_page(connection: socket.socket) -> None:
    connection.sendall(_HEAD + b"Content-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"#")
        time.sleep(0.05)


def _cut_page(connection: socket.socket) -> None:
    body = _rows(1000, _gpu)
    connection.sendall(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2])


def _selector(n: int) -> bytes:
    values = ",".join(f"v{n}x{i}" for i in range(600))
    return _request(f"{METRIC}?labelSelector=app+notin+({values})", "X-Remote-User: jo")


_RANGES = "Accept: " + "x/y;q=0," * 1900 + "*/*," * 3000
_BODY = b"x" * 200 * 1024

PEERS = (
    Peer(
        "accept-ranges",
        "asks with 4,900 media ranges in Accept",
        _sends(lambda _: _request("/version", _RANGES)),
    ),
    Peer(
        "unfinished-heads",
        "sends 60 KB of a head and stays, 480 times",
        _holds(_request("/version", "X: " + "x" * 60_000)[:-4]),
        480,
    ),
    Peer(
        "heads-while-busy",
        "sends 1 MB of further requests during a request",
        _holds(
            _request(METRIC, "X-Remote-User: jo") + _request("/version", "X: " + "x" * 20_000) * 50
        ),
        100,
        _PROXY,
    ),
    Peer("never-reads", "asks for long answers and takes none", _never_read, 100, _PROXY),
    Peer("idle", "opens 2,000 connections and sends nothing", _holds(b""), 2000, tls=False),
    Peer(
        "idle-after-tls",
        "opens 400 connections, does the handshake and sends nothing",
        _holds(b""),
        400,
    ),
    Peer("selectors", "asks with long selectors, all different", _sends(_selector), 4, _PROXY),
    Peer(
        "tokens",
        "asks with tokens, all different",
        _sends(lambda n: _request(METRIC, f"Authorization: Bearer t{n}")),
    ),
    Peer("paths", "asks for paths, all different", _sends(lambda n: _request(f"/nowhere/{n}"))),
    Peer(
        "bodies",
        "posts 200 KB",
        _sends(
            lambda _: _request("/livez", f"Content-Length: {len(_BODY)}", method="POST") + _BODY
        ),
    ),
    Peer(
        "drips-hello",
        "sends bytes one by one before TLS, on 300 connections",
        _drip,
        300,
        tls=False,
    ),
    Peer("drips-head", "sends a head byte by byte, on 300 connections", _drip, 300),
    Peer(
        "long-page", "an exporter with a page of 15 MiB", behave=_sends_page(_rows(14_000, _wordy))
    ),
    Peer(
        "rows",
        "eight exporters with 5,000 rows each",
        behave=_sends_page(_rows(5_000, _gpu)),
        exporters=8,
    ),
    Peer(
        "sharers",
        "an exporter whose one GPU is shared by 20,000 pods",
        behave=_sends_page(_rows(20_000, _shared)),
    ),
    Peer(
        "interim",
        "two exporters that send 100 Continue without end",
        behave=_endless_interim,
        exporters=2,
    ),
    Peer("hung", "100 exporters that never answer", behave=_hang, exporters=100),
    Peer(
        "drips-page",
        "eight exporters that send a page byte by byte",
        behave=_drip_page,
        exporters=8,
    ),
    Peer("cut-page", "eight exporters whose pages are cut short", behave=_cut_page, exporters=8),
    Peer("reviews", "the Kubernetes API never answers reviews", api="reviews"),
    Peer("watches", "the Kubernetes API keeps watches open and says nothing", api="watches"),
)


async def _attack(peer: Peer, target: Target) -> None:
    async def keep(number: int) -> None:
        assert peer.talk is not None
        while True:
            writer: asyncio.StreamWriter | None = None
            try:
                reader, writer = await target.connect(number, proxy=peer.proxy, tls=peer.tls)
                await peer.talk(reader, writer, number)
            except OSError:
                pass
            finally:
                if writer is not None:
                    cut(writer)
            await asyncio.sleep(0.01)

    await asyncio.gather(*(keep(number) for number in range(peer.connections)))


def _export(behave: Behave) -> int:
    """The port of an exporter that does this on each connection, in threads."""
    listener = socket.create_server((HOST, 0), backlog=1024)

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while connection.recv(65536):
                behave(connection)
                if behave is _cut_page:
                    return

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def main(name: str, folder: Path, port: int) -> None:
    """Be a peer."""
    os.nice(10)
    allow_open_files()
    (peer,) = (one for one in PEERS if one.name == name)
    ports = [_export(peer.behave) for _ in range(peer.exporters)] if peer.behave else []
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    if peer.talk is None:
        threading.Event().wait()
    anonymous = ssl.create_default_context(cafile=str(folder / "server-ca.crt"))
    proxy = ssl.create_default_context(cafile=str(folder / "server-ca.crt"))
    proxy.load_cert_chain(folder / "proxy.pem")
    asyncio.run(_attack(peer, Target(port, anonymous, proxy)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
