"""One client connection: how long it may take, and how much it may send.

A connection is in one of three states. It *waits* for a head, whose bytes go to the parser as they
arrive. With a complete head it is *busy* until the client has read the answer: what arrives
meanwhile is held, and reading is paused. After answering a request with an unread body, it *drains*
the rest, so that the client sees the answer and not a reset, and closes.
"""

import asyncio
from http import HTTPStatus
from typing import Protocol, cast

from aiohttp import hdrs, web

from metrics_server.http.commons import Commons
from metrics_server.http.places import Place
from metrics_server.telemetry.metrics import Dropped

# For the request line: a selector may have 8192 characters, each up to three in a URL.
_MAX_LINE_BYTES = 32 * 1024
_HEAD_END = b"\r\n\r\n"
# A head that arrives whole and is no longer than this is not counted: the number of connections
# bounds these.
_SHORT_HEAD_BYTES = 8 * 1024
_NOT_LET_IN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)


class _BufferedTransport(Protocol):
    """The additional methods of both event loops' TLS transports."""

    def set_read_buffer_limits(self, high: int) -> None: ...


class LimitedHandler(web.RequestHandler):
    """One connection of a `LimitedServer`.

    Args:
        manager: the server.
        loop: the event loop.
        commons: what all connections share.
        place: the connection's.

    Attributes:
        commons: as given.
        place: as given.
    """

    __slots__ = (
        "_body_bytes",
        "_busy",
        "_counted",
        "_draining",
        "_dropped",
        "_head_bytes",
        "_held",
        "_last",
        "_limits",
        "_paused_reading",
        "_taking_timer",
        "_timer",
        "_wire",
        "commons",
        "place",
    )

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        commons: Commons,
        place: Place,
    ) -> None:
        limits = commons.limits
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # aiohttp's way to turn it off
            keepalive_timeout=limits.keepalive,
            lingering_time=limits.lingering,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=limits.verified_head_lines if place.verified else limits.head_lines,
        )
        self.commons = commons
        self.place = place
        self._limits = limits
        self._wire: asyncio.Transport | None = None
        self._dropped = False
        self._busy = self._draining = self._paused_reading = self._counted = False
        self._head_bytes = self._body_bytes = 0
        # The last bytes that the parser has of an incomplete head.
        self._last = b""
        # What arrived while a request was being answered.
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None
        self._taking_timer: asyncio.TimerHandle | None = None

    @property
    def is_verified(self) -> bool:
        """Whether the peer's certificate was verified."""
        return self.place.verified

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done; the first request is due."""
        self._wire = cast("asyncio.Transport", transport)
        # As soon as the kernel's buffer is full. Zero would mean always, on one of the loops.
        self._wire.set_write_buffer_limits(high=1, low=0)
        if hasattr(transport, "set_read_buffer_limits"):
            # For bytes that are still encrypted, while reading is paused.
            cast("_BufferedTransport", transport).set_read_buffer_limits(high=_MAX_LINE_BYTES)
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Some bytes have arrived."""
        if self._dropped:
            return
        if self._draining or not data:
            self._body_bytes += len(data)
            if self._body_bytes > self._limits.body:
                self._drop("body-too-long")
            else:
                super().data_received(data)
        elif self._busy:
            self._hold(data)
        else:
            self._read_head(data)

    def pause_writing(self) -> None:
        """The client does not read its answer as fast as it is written."""
        super().pause_writing()
        loop = asyncio.get_running_loop()
        self._taking_timer = loop.call_later(self._limits.taking, self._drop, "answer-not-taken")
        if self._wire is not None:
            self.commons.answers.take(self, self._wire.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has read it."""
        self._has_taken()
        super().resume_writing()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response, and wait until the client has read it."""
        if not self._may_stay(request, resp):
            resp.force_close()
        try:
            # Waits while writing is paused.
            return await super().finish_response(request, resp, start_time)
        finally:
            self._go_on(stays=bool(resp.keep_alive), body=not request.content.at_eof())

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        self._dropped = True
        self._forget()
        super().connection_lost(exc)
        self.commons.places.leave(self.place)
        # Without reference cycles, the buffers of TLS are freed now: a flood of connections would
        # otherwise fill the memory before the garbage collector runs.
        self._wire = None
        self.place.give_up = _nothing

    def give_up(self) -> None:
        """Close, because others need the bytes it holds."""
        self._drop("too-much-held")

    def give_way(self) -> None:
        """Close, because another connection needs its place."""
        self._drop("idle-longest")

    def _may_stay(self, request: web.BaseRequest, response: web.StreamResponse) -> bool:
        """Whether the connection is kept after an answer.

        A request's body is never read, so the next request could not be separated from it. And
        unknown peers have no reason to keep a connection.
        """
        if request.body_exists or self.commons.stopping.is_set():
            return False
        return self.place.verified or (
            response.status not in _NOT_LET_IN
            and request.headers.get(hdrs.AUTHORIZATION, "")[:7].lower() == "bearer "
        )

    def _read_head(self, data: bytes) -> None:
        """Pass what belongs to the next head to the parser; hold what follows it."""
        if not self._head_bytes:
            # Like other servers, skip empty lines before a request.
            data = data.lstrip(b"\r\n")
            self._last = b""
        end = (self._last + data).find(_HEAD_END)
        if end < 0:
            head, rest = data, b""
            self._last = (self._last + data)[-3:]
            self._expect()
        else:
            end += len(_HEAD_END) - len(self._last)
            head, rest = data[:end], data[end:]
        if (end < 0 or self._head_bytes or len(head) > _SHORT_HEAD_BYTES) and not self._count(head):
            return
        if end >= 0:
            self._busy = self.place.busy = True
            self._stop_timer()
        super().data_received(head)
        if rest:
            self._hold(rest)

    def _count(self, head: bytes) -> bool:
        """Count the bytes of a head; False if the connection had to be dropped for it."""
        self._head_bytes += len(head)
        limits = self._limits
        most = limits.verified_head_bytes if self.place.verified else limits.head_bytes
        if self._head_bytes > most:
            self._drop("head-too-long")
        else:
            self._counted = True
            self.commons.heads.take(self, len(head))
        return not self._dropped

    def _hold(self, data: bytes) -> None:
        """Hold what arrives while a request is being answered, and read no more until then."""
        if not self._paused_reading and self._wire is not None:
            self._paused_reading = True
            self._wire.pause_reading()
        self._held += data
        self._counted = True
        self.commons.heads.take(self, len(data))

    def _go_on(self, *, stays: bool, body: bool) -> None:
        """A request is answered: continue with what was held and what is yet to arrive."""
        if self._counted:
            self.commons.heads.release(self)
            self._counted = False
        self._head_bytes, self._last = 0, b""
        self._busy, self._draining = False, body
        if self._dropped:
            return
        self.commons.places.rest(self.place)
        held, self._held = self._held, b""
        if self._paused_reading and self._wire is not None:
            self._paused_reading = False
            self._wire.resume_reading()
        if held and (stays or body):
            self.data_received(held)

    def _has_taken(self) -> None:
        self.commons.answers.release(self)
        if self._taking_timer is not None:
            self._taking_timer.cancel()
            self._taking_timer = None

    def _expect(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limits.head, self._drop, "head-too-slow")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget(self) -> None:
        self._stop_timer()
        self._has_taken()
        self.commons.heads.release(self)
        self._held = b""

    def _drop(self, why: Dropped) -> None:
        if not self._dropped:
            self._dropped = True
            self._forget()
            self.commons.drop(why, self.place.peer)
            if self._wire is not None:
                self._wire.abort()


def _nothing() -> None:
    """Do nothing: there is nothing to release."""
