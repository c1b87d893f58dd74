"""Connections to exporters and to Prometheus that cannot block the event loop."""

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
# No exporter sends interim responses (1xx).
_MOST_INTERIM = 4
# How many bytes are parsed before the result is checked.
_SLICE_BYTES = 4096


class BoundedConnection(ResponseHandler):
    """A connection that is closed if it receives endless interim responses.

    aiohttp skips them, however many arrive, and while they arrive fast enough no other task gets
    its turn, not even a deadline.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Handle the head of a response."""
        self._interim = self._interim + 1 if data[0].code < HTTPStatus.OK else 0
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Handle received bytes: a little at a time, until the body of a response begins."""
        while len(data) > _SLICE_BYTES and (self._payload is None or self._payload.is_eof()):
            super().data_received(data[:_SLICE_BYTES])
            data = data[_SLICE_BYTES:]
            if self._is_endless() or self.exception() is not None:
                return
        super().data_received(data)
        self._is_endless()

    def _is_endless(self) -> bool:
        """Return whether there were too many interim responses, and if so close the connection."""
        if self._interim <= _MOST_INTERIM:
            return False
        self._buffer.clear()
        self.set_exception(BadHttpMessage("endless interim responses (1xx)"))
        if self.transport is not None:
            self.transport.abort()
        return True


class BoundedConnector(TCPConnector):
    """Makes such connections; its user limits how many at once.

    Args:
        keepalive: how long a connection may be idle, in seconds.
    """

    def __init__(self, keepalive: float = _KEEPALIVE_SECONDS) -> None:
        super().__init__(limit=0, keepalive_timeout=keepalive)
        loop = asyncio.get_running_loop()

        def connection() -> ResponseHandler:
            return BoundedConnection(loop)

        # aiohttp offers no other way to set it.
        self._factory = partial(connection)
