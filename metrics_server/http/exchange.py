"""One HTTP exchange with an untrusted server: a request, and a bounded response."""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol, cast

import httptools

# In a response and the interim responses (1xx) before it: far more than any server sends.
_MOST_HEAD_BYTES = 32 * 1024
# Beyond that, the framing of a body may take this share of its bytes: chunks of a dozen bytes do.
_FRAMING_PART = 1 / 2
# These decide how a body is read. If two of a kind differed, a proxy could have read it otherwise.
_SINGLE = ("content-type", "content-encoding", "transfer-encoding")
# In the bytes received at once: this many take less than 10 ms.
_MOST_PARTS = 8192


class ExchangeError(Exception):
    """No complete response was received."""


class DisconnectedError(ExchangeError):
    """The connection was closed before the head of a response was complete."""


class TruncatedError(ExchangeError):
    """The connection was closed before the body was complete."""


class InvalidHTTPError(ExchangeError):
    """The response is not valid HTTP; the message says why, in a few words."""


class Receiver(Protocol):
    """Decides what to receive. Whatever it raises ends the exchange, and reaches the caller."""

    def begin(self, status: int, headers: Mapping[str, str], /) -> None:
        """Check the head of the response. The names of its headers are in lower case."""
        ...

    def grow(self, size: int, /) -> bool:
        """Check the size of the body so far; return False if no more of it is needed."""
        ...


class Exchange:
    """A request, and what has been received in response.

    `httptools` calls the methods whose names begin with `on_`.

    Args:
        request: what to send.
        receiver: decides what to receive.

    Attributes:
        request: the same.
        body: what has been received of the body.
        is_answered: whether anything has been received.
        ended: set when the exchange has ended, to the error if there is no response.
        is_reusable: whether its connection can be used for another one.
    """

    __slots__ = (
        "_bytes",
        "_has_ended",
        "_headers",
        "_is_complete",
        "_is_in_body",
        "_is_until_closed",
        "_parser",
        "_parts",
        "_receiver",
        "body",
        "ended",
        "is_answered",
        "is_reusable",
        "request",
    )

    def __init__(self, request: bytes, receiver: Receiver) -> None:
        self.request = request
        self.body: bytes | bytearray = b""
        self.is_answered = False
        self.is_reusable = False
        self.ended: asyncio.Future[BaseException | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._receiver = receiver
        self._headers: dict[str, str] = {}
        self._bytes = 0
        self._parts = 0
        self._is_in_body = False
        self._is_until_closed = False
        self._is_complete = False
        self._has_ended = False
        self._parser = httptools.HttpResponseParser(self)

    def received(self, data: memoryview) -> None:
        """Handle what has been received."""
        self.is_answered = True
        self._parts = 0
        try:
            self._parser.feed_data(data)
            self._check_framing(len(data))
        except httptools.HttpParserCallbackError as error:
            # Raised by one of the methods that it calls.
            cause = error.__context__
            self._end(None if isinstance(cause, _EnoughError) else cause)
        except httptools.HttpParserUpgrade:
            self._end(InvalidHTTPError("it switches to another protocol"))
        except httptools.HttpParserError as error:
            self._end(InvalidHTTPError(_brief(error)))
        except InvalidHTTPError as error:
            self._end(error)
        else:
            if self._is_complete:
                self._end(None)

    def disconnected(self, error: Exception | None) -> None:
        """Handle the end of the connection."""
        if self._is_until_closed and error is None:
            self._end(None)
        elif self._is_in_body:
            self._end(TruncatedError())
        else:
            self._end(error or DisconnectedError())

    def on_message_begin(self) -> None:
        """Handle the beginning of a response, which may be an interim one."""
        if self._is_in_body:
            raise InvalidHTTPError("it is longer than it says")
        self._count_part()
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Handle a header, or a trailer, which is ignored."""
        self._count_part()
        if self._is_in_body:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if self._headers.get(key, text) != text and key in _SINGLE:
            raise InvalidHTTPError(f"it has two {key} headers that differ")
        self._headers[key] = text

    def on_headers_complete(self) -> None:
        """Handle the end of a head."""
        status = self._parser.get_status_code()
        if status >= HTTPStatus.OK:
            if self._headers.get("transfer-encoding", "chunked").lower() != "chunked":
                raise InvalidHTTPError("its transfer-encoding is not just chunked")
            self._is_in_body = True
            self._is_until_closed = (
                "content-length" not in self._headers and "transfer-encoding" not in self._headers
            )
            self._receiver.begin(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """Handle a part of the body."""
        self._count_part()
        if not self.body:
            # Often the only part, and then never copied.
            self.body = data
        elif isinstance(self.body, bytearray):
            self.body += data
        else:
            self.body = bytearray().join((self.body, data))
        if not self._receiver.grow(len(self.body)):
            raise _EnoughError

    def on_message_complete(self) -> None:
        """Handle the end of a response."""
        self._is_complete = self._is_in_body
        self.is_reusable = self._is_in_body and self._parser.should_keep_alive()

    def _check_framing(self, more: int) -> None:
        """Check everything but the body itself: the head, the framing of chunks, and trailers."""
        self._bytes += more
        size = len(self.body)
        if self._bytes - size > _MOST_HEAD_BYTES + _FRAMING_PART * size:
            if self._is_in_body:
                raise InvalidHTTPError("its head, chunk headers and trailers outweigh its body")
            raise InvalidHTTPError(f"its head has more than {_MOST_HEAD_BYTES} bytes")

    def _count_part(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise InvalidHTTPError("it consists of too many headers or chunks")

    def _end(self, error: BaseException | None) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        # Otherwise this exchange would stay until the next garbage collection: the parser refers to
        # it, and so does the traceback of an error.
        del self._parser
        if error is not None or self.ended.cancelled():
            self.is_reusable = False
            self.body = b""
        if not self.ended.cancelled():
            self.ended.set_result(error)


class Connection(asyncio.BufferedProtocol):
    """A connection to a server, which has an exchange or is idle.

    Args:
        exchange: begins as soon as there is a connection.
        buffer: where it receives. Connections may share it: what they receive is handled at once.
        lost: called when it has been closed.

    Attributes:
        is_lost: whether it has been, or is being, closed.
    """

    __slots__ = ("_buffer", "_exchange", "_lost", "_transport", "is_lost")

    def __init__(
        self, exchange: Exchange, buffer: memoryview, lost: Callable[["Connection"], None]
    ) -> None:
        self.is_lost = False
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
        """End the exchange: nothing that is received from now on was requested."""
        self._exchange = None

    def abort(self) -> None:
        """Close the connection."""
        self.is_lost = True
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
        self.is_lost = True
        self._lost(self)
        if self._exchange is not None:
            self._exchange.disconnected(exc)


def _brief(error: httptools.HttpParserError) -> str:
    text = str(error)
    # The parser knows other protocols that resemble HTTP.
    return "it does not begin with HTTP/" if text.startswith("Expected HTTP/") else text


class _EnoughError(Exception):
    """No more of the body is needed."""
