"""The hostile peers.

A process that runs `main` is a peer, until it is killed. It first prints its exporters' ports.
Its folder has the server's authority and a front proxy's certificate.
"""

import asyncio
import json
import os
import socket
import ssl
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

from metrics_server.http.sockets import allow_open_files
from tests.reliability.attacks import (
    METRIC,
    Behave,
    Peer,
    Target,
    cut_page,
    drip,
    drip_page,
    endless_interim,
    hang,
    holds,
    http_request,
    never_read,
    rows,
    selector,
    sends,
    sends_page,
)
from tests.support.gpu_labels import gpu_of, shared, wordy
from tests.support.peers import HOST, cut

_ANONYMOUS, _PROXY = False, True

_RANGES = "Accept: " + "x/y;q=0," * 1900 + "*/*," * 3000
_BODY = b"x" * 200 * 1024

PEERS = (
    Peer(
        "accept-ranges",
        "asks with 4,900 media ranges in Accept",
        sends(lambda _: http_request("/version", _RANGES)),
    ),
    Peer(
        "unfinished-heads",
        "sends 60 KB of a head and stays, 480 times",
        holds(http_request("/version", "X: " + "x" * 60_000)[:-4]),
        480,
    ),
    Peer(
        "heads-while-busy",
        "sends 1 MB of further requests during a request",
        holds(
            http_request(METRIC, "X-Remote-User: jo")
            + http_request("/version", "X: " + "x" * 20_000) * 50
        ),
        100,
        _PROXY,
    ),
    Peer("never-reads", "asks for long answers and takes none", never_read, 100, _PROXY),
    Peer("idle", "opens 2,000 connections and sends nothing", holds(b""), 2000, tls=False),
    Peer(
        "idle-after-tls",
        "opens 400 connections, does the handshake and sends nothing",
        holds(b""),
        400,
    ),
    Peer("selectors", "asks with long selectors, all different", sends(selector), 4, _PROXY),
    Peer(
        "tokens",
        "asks with tokens, all different",
        sends(lambda n: http_request(METRIC, f"Authorization: Bearer t{n}")),
    ),
    Peer("paths", "asks for paths, all different", sends(lambda n: http_request(f"/nowhere/{n}"))),
    Peer(
        "bodies",
        "posts 200 KB",
        sends(
            lambda _: http_request("/livez", f"Content-Length: {len(_BODY)}", method="POST") + _BODY
        ),
    ),
    Peer(
        "drips-hello",
        "sends bytes one by one before TLS, on 300 connections",
        drip,
        300,
        tls=False,
    ),
    Peer("drips-head", "sends a head byte by byte, on 300 connections", drip, 300),
    Peer(
        "long-page",
        "an exporter with a page of 15 MiB",
        behave=sends_page(partial(rows, 14_000, wordy)),
    ),
    Peer(
        "rows",
        "eight exporters with 5,000 rows each",
        behave=sends_page(partial(rows, 5_000, gpu_of)),
        exporters=8,
    ),
    Peer(
        "sharers",
        "an exporter whose one GPU is shared by 20,000 pods",
        behave=sends_page(partial(rows, 20_000, shared)),
    ),
    Peer(
        "interim",
        "two exporters that send 100 Continue without end",
        behave=endless_interim,
        exporters=2,
    ),
    Peer("hung", "100 exporters that never answer", behave=hang, exporters=100),
    Peer(
        "drips-page",
        "eight exporters that send a page byte by byte",
        behave=drip_page,
        exporters=8,
    ),
    Peer("cut-page", "eight exporters whose pages are cut short", behave=cut_page, exporters=8),
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
                if behave is cut_page:
                    return

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def main(arguments: list[str]) -> None:
    """Be a peer: its name, a folder and the server's port."""
    name, folder, port = arguments[0], Path(arguments[1]), int(arguments[2])
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
