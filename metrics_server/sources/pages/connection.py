"""Connections to exporters, of which none can hold up the event loop."""

import asyncio
from functools import partial
from http import HTTPStatus

from aiohttp import TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.streams import StreamReader

# Idle connections outlive the HPA's period of 15 s, so that a scrape seldom has to connect.
_KEEPALIVE_SECONDS = 60
# No exporter sends an interim response (1xx) at all.
_MOST_INTERIM = 4
# Bytes that are parsed before it is looked at what they are.
_SLICE_BYTES = 4096


class BoundedConnection(ResponseHandler):
    """A connection that is closed when interim responses come without end.

    aiohttp passes these over, as many as there are, and while they come fast enough nothing else
    gets its turn: no deadline either.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take the head of a response."""
        self._interim = self._interim + 1 if data[0].code < HTTPStatus.OK else 0
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Take what has come: a little at a time, until it is the body of a response."""
        while len(data) > _SLICE_BYTES and (self._payload is None or self._payload.is_eof()):
            super().data_received(data[:_SLICE_BYTES])
            data = data[_SLICE_BYTES:]
            if self._is_endless() or self.exception() is not None:
                return
        super().data_received(data)
        self._is_endless()

    def _is_endless(self) -> bool:
        """Whether there were too many interim responses; the connection is closed then."""
        if self._interim <= _MOST_INTERIM:
            return False
        self._buffer.clear()
        self.set_exception(BadHttpMessage("endless interim responses (1xx)"))
        if self.transport is not None:
            self.transport.abort()
        return True


class BoundedConnector(TCPConnector):
    """Connects to exporters. How many at once is decided by the lanes of the scraper."""

    def __init__(self) -> None:
        super().__init__(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
        loop = asyncio.get_running_loop()

        def connection() -> ResponseHandler:
            return BoundedConnection(loop)

        # aiohttp has no other place to say so.
        self._factory = partial(connection)
