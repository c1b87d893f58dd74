"""One connection of a client: the time that it has, and the size of what it may send."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from msgspec import Struct

# Of one line of a head, be it the request's or a header's: a selector may have 8192 characters,
# each of which may be three in a URL.
_MAX_LINE_BYTES = 32 * 1024
# kube-apiserver sends each group of a user in a line of its own, and some users have hundreds.
_MAX_HEADERS = 1024

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = structlog.stdlib.get_logger(__name__)


class Limits(Struct, frozen=True):
    """What one client, and all of them, may cost; times are in seconds.

    Attributes:
        handshake: how long TLS may take to begin.
        head: how long the head of a request may take to come: the first from the end of the
            handshake, another from its first byte. The default is kube-apiserver's own
            (ReadHeaderTimeout in k8s.io/apiserver/pkg/server/secure_serving.go).
        head_bytes: how long it may be, roughly.
        keepalive: how long a connection may be idle between requests. kube-apiserver's aggregator
            keeps its own for 90 seconds: ours must not be closed first.
        per_peer: connections of one address.
        total: connections of all.
        drain: how long requests under way may take at the end: more than a scrape does.
    """

    handshake: float = 10
    head: float = 32
    head_bytes: int = 64 * 1024
    keepalive: float = 120
    per_peer: int = 500
    total: int = 2000
    drain: float = 10


DEFAULT = Limits()


class LimitedHandler(web.RequestHandler):
    """One connection of a `LimitedServer`.

    Attributes:
        lost: called once the connection is closed.
    """

    __slots__ = ("_head_bytes", "_limits", "_timer", "_waiting", "lost")

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        limits: Limits = DEFAULT,
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # it is how aiohttp is told to have none
            keepalive_timeout=limits.keepalive,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADERS,
        )
        self.lost: Callable[[], None] = _nothing
        self._limits = limits
        self._waiting = True
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done: the first request is due."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Some bytes have come: of a head, where a request is waited for."""
        if self._waiting:
            self._expect()
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                self._drop("the head of a request was too long")
                return
        super().data_received(data)

    def begin(self) -> None:
        """A head is complete: its request is being answered."""
        self._waiting = False
        self._head_bytes = 0
        self._stop_timer()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; after it the connection may be idle."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._waiting = True
            self._head_bytes = 0

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        self._waiting = False
        self._stop_timer()
        super().connection_lost(exc)
        self.lost()

    def _expect(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(
                self._limits.head, self._drop, "the head of a request did not come in time"
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self, why: str) -> None:
        self._stop_timer()
        if self.transport is not None:
            log.info("dropped a connection", peer=self.peername, reason=why)
            self.transport.abort()


class LimitedServer(web.Server):
    """An aiohttp web server whose connections keep to limits.

    Args:
        handler: answers a request.
        limits: of every connection.
    """

    def __init__(self, handler: Handler, limits: Limits = DEFAULT) -> None:
        def noticed(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            if isinstance(request.protocol, LimitedHandler):
                request.protocol.begin()
            return handler(request)

        super().__init__(noticed, limits=limits)

    def __call__(self) -> LimitedHandler:
        """The handler of a new connection."""
        return LimitedHandler(self, loop=self._loop, **self._kwargs)


def _nothing() -> None:
    pass
