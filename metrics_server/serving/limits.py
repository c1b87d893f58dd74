"""The listening socket: how many connections it lets in, and how long TLS may take to begin.

A peer that opens too many connections is refused before any TLS; one that says nothing, or says it
slowly, is dropped. What a connection may cost once it is made, `serving.connection` tells.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import structlog
from aiohttp import web

from metrics_server.errors import ConfigurationError
from metrics_server.serving.connection import DEFAULT, LimitedServer, Limits
from metrics_server.tasks import background

__all__ = ["Limits", "listening"]

_BACKLOG = 1024
_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - it is asked for
# After an error such as too many open files; the connection waits in the backlog meanwhile.
_PAUSE_SECONDS = 0.5
# Anybody can bring about that connections are refused: that must not fill a log.
_TELL_SECONDS = 60

log = structlog.stdlib.get_logger(__name__)


@asynccontextmanager
async def listening(
    server: LimitedServer,
    host: str,
    port: int,
    tls: ssl.SSLContext,
    limits: Limits = DEFAULT,
) -> AsyncIterator[tuple[str, int]]:
    """Serve on a TCP port for as long as the context; at its end, what is under way is finished.

    Args:
        server: whose connections it accepts.
        host: an IP address, or a name for one; 0.0.0.0 or :: for all, IPv4 and IPv6.
        port: 0 takes any free one.
        tls: the TLS side of every connection.
        limits: of handshakes and connections; those of requests are the server's.

    Yields:
        The address and the port that were really taken.

    Raises:
        ConfigurationError: it cannot be listened there.
    """
    runner = web.ServerRunner(server, shutdown_timeout=limits.drain)
    with closing(await _bound(host, port)) as listener:
        await runner.setup()
        door = _Door(server, listener, tls, limits)
        try:
            async with background("accept-connections", door.accept):
                address, taken, *_ = listener.getsockname()
                yield str(address), int(taken)
        finally:
            listener.close()
            await door.close()
            await runner.cleanup()


async def _bound(host: str, port: int) -> socket.socket:
    # As Kubernetes' own servers have it, either is every address of both families.
    every = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - it is asked for
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(
            every if host in _UNSPECIFIED else host,
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
        family, *_, address = infos[0]
        listener = socket.create_server(
            address, family=family, backlog=_BACKLOG, dualstack_ipv6=address[0] == "::"
        )
    except OSError as error:
        raise ConfigurationError(
            f"--bind-address {host} --secure-port {port} cannot be listened on: "
            f"{error.strerror or error}"
        ) from error
    listener.setblocking(False)  # noqa: FBT003 - it is how sockets have it
    return listener


class _Door:
    """Lets connections in, each only as far as the limits allow."""

    def __init__(
        self,
        server: LimitedServer,
        listener: socket.socket,
        tls: ssl.SSLContext,
        limits: Limits,
    ) -> None:
        self._server = server
        self._listener = listener
        self._tls = tls
        self._limits = limits
        self._connections: Counter[str] = Counter()
        self._refused = 0
        self._tell_at = 0.0
        self._handshakes: set[asyncio.Task[None]] = set()

    async def accept(self) -> None:
        """Accept connections, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listener)
            except OSError as error:
                log.warning("a connection could not be accepted", error=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            peer = str(address[0])
            if self._is_full(peer):
                connection.close()
                continue
            self._connections[peer] += 1
            task = asyncio.create_task(self._begin(connection, peer), name=f"handshake-{peer}")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def close(self) -> None:
        """Give up the handshakes that are under way."""
        for task in self._handshakes:
            task.cancel()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    def _is_full(self, peer: str) -> bool:
        if (
            self._connections[peer] < self._limits.per_peer
            and self._connections.total() < self._limits.total
        ):
            return False
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if now >= self._tell_at:
            log.warning("refused connections, as there are too many", of=peer, n=self._refused)
            self._tell_at, self._refused = now + _TELL_SECONDS, 0
        return True

    async def _begin(self, connection: socket.socket, peer: str) -> None:
        handler = self._server()
        handler.lost = lambda: self._leave(peer)
        began = False
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: handler,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.handshake,
            )
            began = True
        except OSError as error:
            # Of TLS, too. Not louder: a scan of ports must not fill a log.
            log.debug("a handshake failed", peer=peer, error=str(error))
        finally:
            if not began:
                self._leave(peer)

    def _leave(self, peer: str) -> None:
        self._connections[peer] -= 1
        if self._connections[peer] <= 0:
            del self._connections[peer]
