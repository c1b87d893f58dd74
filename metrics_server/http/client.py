"""An HTTP client for servers that may be anything: each response is bounded as it arrives.

aiohttp's client takes several times as long for a request, and skips any number of interim
responses.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import cast

import aiohappyeyeballs
from msgspec import Struct
from yarl import URL

from metrics_server.http.exchange import DisconnectedError, Exchange, Receiver

# After this time the next address of a host is tried, too (RFC 8305).
_NEXT_ADDRESS_SECONDS = 0.25
# What is received at once: a page of 8 GPUs fits.
_BUFFER_BYTES = 128 * 1024
_MAX_TARGETS = 16_384


class TLS(Struct, frozen=True):
    """How a server is verified, if its URL says https.

    Attributes:
        context: verifies it.
        server_name: the name to verify; None means the host in the URL.
    """

    context: ssl.SSLContext
    server_name: str | None = None


# What a connection leads to: host, port, and how it is verified; None over plain HTTP.
_Peer = tuple[str, int, TLS | None]


class _Target(Struct, frozen=True):
    """What a URL says; `authority` is the Host header, and `path` has the query."""

    is_secure: bool
    host: str
    port: int
    authority: str
    path: str


class HTTPClient:
    """Sends requests over connections that it keeps for further ones.

    Use it in one event loop, and close it. Its user limits how many requests are sent at once, and
    how long each may take.

    Args:
        headers: of each request.
        keepalive: how long a connection may be idle, in seconds.
    """

    def __init__(self, headers: Mapping[str, str], *, keepalive: float) -> None:
        self._headers = headers
        self._keepalive = keepalive
        self._open: set[_Connection] = set()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        # The one used last is taken first, so that those that are not needed expire.
        self._idle: dict[_Peer, dict[_Connection, asyncio.TimerHandle]] = {}

    async def close(self) -> None:
        """Close every connection; requests that are in progress fail."""
        connections = tuple(self._open)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(one.closed for one in connections))

    async def exchange(
        self,
        url: str,
        receiver: Receiver,
        *,
        tls: TLS,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> bytes | bytearray:
        """Send a request, and return the body of the response.

        A GET is sent again if the server closed an idle connection just then.

        Args:
            url: of http or https. Its fragment is not sent.
            receiver: decides what to receive.
            tls: how the server is verified.
            headers: in addition to those of each request.
            body: is sent by POST; None means GET.

        Raises:
            ExchangeError: no complete response was received.
            OSError: there is no connection, or no longer.
            ValueError: the URL or a header is not valid.
        """
        target = _target(url)
        request = _request(target, {**self._headers, **headers}, body)
        peer = (target.host, target.port, tls if target.is_secure else None)
        connection = self._take(peer)
        if connection is not None:
            exchange = Exchange(request, receiver)
            connection.begin(exchange)
            try:
                return await self._response(peer, connection, exchange)
            except (DisconnectedError, ConnectionError):
                if exchange.is_answered or body is not None:
                    raise
        exchange = Exchange(request, receiver)
        return await self._response(peer, await self._connect(peer, exchange), exchange)

    async def _response(
        self, peer: _Peer, connection: "_Connection", exchange: Exchange
    ) -> bytes | bytearray:
        try:
            error = await exchange.ended
        finally:
            connection.end()
            if exchange.is_reusable:
                self._keep(peer, connection)
            else:
                connection.abort()
        if error is not None:
            raise error
        return exchange.body

    def _take(self, peer: _Peer) -> "_Connection | None":
        idle = self._idle.get(peer)
        if idle is None:
            return None
        connection, timer = idle.popitem()
        timer.cancel()
        if not idle:
            del self._idle[peer]
        return connection

    def _keep(self, peer: _Peer, connection: "_Connection") -> None:
        if connection in self._open:
            timer = asyncio.get_running_loop().call_later(self._keepalive, connection.abort)
            self._idle.setdefault(peer, {})[connection] = timer

    def _forget(self, peer: _Peer, connection: "_Connection") -> None:
        self._open.discard(connection)
        idle = self._idle.get(peer, {})
        timer = idle.pop(connection, None)
        if timer is not None:
            timer.cancel()
            if not idle:
                del self._idle[peer]

    async def _connect(self, peer: _Peer, exchange: Exchange) -> "_Connection":
        host, port, tls = peer
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1
        )
        connection = _Connection(exchange, self._buffer, lambda one: self._forget(peer, one))
        try:
            await loop.create_connection(
                lambda: connection,
                sock=connected,
                ssl=tls.context if tls else None,
                server_hostname=(tls.server_name or host) if tls else None,
            )
        except BaseException:
            connected.close()
            raise
        if not connection.closed.done():
            self._open.add(connection)
        return connection


class _Connection(asyncio.BufferedProtocol):
    """A connection, which has an exchange or is idle.

    Args:
        exchange: begins as soon as it is connected.
        buffer: where it receives. Connections share it, as what is received is handled at once.
        lost: called when it is closed.

    Attributes:
        closed: set when it is closed.
    """

    def __init__(
        self, exchange: Exchange, buffer: memoryview, lost: Callable[["_Connection"], None]
    ) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._exchange: Exchange | None = exchange
        self._buffer = buffer
        self._lost = lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the first exchange."""
        self._transport = cast("asyncio.Transport", transport)
        if self._exchange is not None:
            self.begin(self._exchange)

    def begin(self, exchange: Exchange) -> None:
        """Begin an exchange."""
        self._exchange = exchange
        self._transport.write(exchange.request)

    def end(self) -> None:
        """End the exchange: what is received from now on was not requested."""
        self._exchange = None

    def abort(self) -> None:
        """Close the connection."""
        self._lost(self)
        self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - it has one size
        """Return where to receive."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Handle what has been received."""
        if self._exchange is None or self._exchange.ended.done():
            self.abort()
        else:
            self._exchange.received(self._buffer[:nbytes])

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection."""
        self._lost(self)
        self.closed.set_result(None)
        if self._exchange is not None:
            self._exchange.disconnected(exc)


def media_type(headers: Mapping[str, str]) -> str:
    """Return the media type of a body, without parameters, in lower case."""
    said = headers.get("content-type", "application/octet-stream")
    return said.partition(";")[0].strip().lower()


@lru_cache(_MAX_TARGETS)
def _target(url: str) -> _Target:
    """Return what a URL says.

    Raises:
        ValueError: it is not valid.
    """
    parsed = URL(url)
    if parsed.scheme not in {"http", "https"} or not parsed.raw_host or not parsed.port:
        raise ValueError("the URL is not one of http or https")
    authority = parsed.host_port_subcomponent or parsed.raw_host
    return _Target(
        parsed.scheme == "https", parsed.raw_host, parsed.port, authority, parsed.raw_path_qs
    )


def _request(target: _Target, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Return what is sent.

    Raises:
        ValueError: a header is not valid.
    """
    lines = [
        f"{'GET' if body is None else 'POST'} {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    if not all(map(str.isprintable, lines)):
        raise ValueError("a header has control characters")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")
