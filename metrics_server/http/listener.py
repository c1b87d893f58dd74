"""The listener: accepts connections and gives each a place and a time for its TLS handshake.

`http.places` decides who gets a place when there are too many connections, and `http.connection`
limits what a connection may cost.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import structlog
from aiohttp import web

from metrics_server.common.outages import Outage
from metrics_server.common.tasks import background
from metrics_server.errors import ConfigurationError
from metrics_server.http.places import Place
from metrics_server.http.server import LimitedServer
from metrics_server.http.sockets import why

_BACKLOG = 1024
_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - it is asked for
# After an error such as too many open files; connections wait in the backlog meanwhile.
_PAUSE_SECONDS = 0.5
# The kernel's buffers of a connection, in either direction; it doubles this for its bookkeeping.
_KERNEL_BYTES = 32 * 1024

log = structlog.stdlib.get_logger(__name__)


class CannotListenError(ConfigurationError):
    """An address cannot be bound.

    Attributes:
        reason: why, in words.
    """

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"--bind-address {host} --secure-port {port}: cannot listen: {reason}")
        self.reason = reason


@asynccontextmanager
async def listening(
    server: LimitedServer,
    host: str,
    port: int,
    tls: ssl.SSLContext,
) -> AsyncIterator[tuple[str, int]]:
    """Serve on a TCP port while the context lasts; at its end, finish the requests under way.

    Args:
        server: whose connections it accepts.
        host: an IP address, or a name for one; 0.0.0.0 or :: for all, IPv4 and IPv6.
        port: 0 takes any free one.
        tls: the TLS side of every connection.

    Yields:
        The address and port in use.

    Raises:
        CannotListenError: the address cannot be bound.
    """
    runner = web.ServerRunner(server, shutdown_timeout=server.commons.limits.drain)
    with closing(await _bound(host, port)) as listener:
        await runner.setup()
        door = _Door(server, listener, tls)
        try:
            async with background("accept-connections", door.accept):
                address, taken, *_ = listener.getsockname()
                yield str(address), int(taken)
        finally:
            listener.close()
            await door.close()
            await runner.cleanup()


async def _bound(host: str, port: int) -> socket.socket:
    # As in Kubernetes' own servers, either means every address of both families.
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
        raise CannotListenError(host, port, why(error)) from error
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        listener.setsockopt(socket.SOL_SOCKET, option, _KERNEL_BYTES)
    listener.setblocking(False)  # noqa: FBT003 - it is how sockets have it
    return listener


class _Doorway(asyncio.Protocol):
    """Represents a connection until its handshake is done and its peer is known."""

    def __init__(self, server: LimitedServer, place: Place) -> None:
        self._server = server
        self._place = place

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        handler = self._server.connection(self._place, transport.get_extra_info("ssl_object"))
        transport.set_protocol(handler)
        handler.connection_made(transport)


class _Door:
    """Accepts connections within the limits."""

    def __init__(self, server: LimitedServer, listener: socket.socket, tls: ssl.SSLContext) -> None:
        self._server = server
        self._listener = listener
        self._tls = tls
        self._handshakes: set[asyncio.Task[None]] = set()
        self._outage = Outage(
            log, "accepting connections fails", "accepting connections works again"
        )

    async def accept(self) -> None:
        """Accept connections, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listener)
            except OSError as error:
                self._outage.failed(error)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self._outage.recovered()
            peer = str(address[0])
            task = asyncio.create_task(self._begin(connection, peer), name=f"handshake-{peer}")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def close(self) -> None:
        """Cancel the handshakes under way."""
        for task in self._handshakes:
            task.cancel()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    async def _begin(self, connection: socket.socket, peer: str) -> None:
        server, commons = self._server, self._server.commons
        handshake = asyncio.current_task()

        def give_way() -> None:
            commons.drop("idle-longest", peer)
            if handshake is not None:
                handshake.cancel()

        place = commons.places.enter(peer, give_way)
        began = False
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Doorway(server, place),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=commons.limits.handshake,
                ssl_shutdown_timeout=commons.limits.taking,
            )
            began = True
        except OSError as error:
            # Includes TLS errors. At debug level, so that a port scan does not fill the log.
            log.debug("TLS handshake failed", peer=peer, error=str(error))
        finally:
            if not began:
                commons.places.leave(place)
