"""An HTTP server with limits on its connections."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web

from metrics_server.http.commons import Commons
from metrics_server.http.connection import LimitedHandler
from metrics_server.http.limits import DEFAULT, Limits
from metrics_server.http.places import Place
from metrics_server.http.reply import Reply
from metrics_server.telemetry.metrics import Monitor

Handler = Callable[[web.BaseRequest], Awaitable[Reply]]


class LimitedServer(web.Server):
    """An aiohttp web server with limits on its connections.

    Args:
        handler: answers a request without its body, which is read after the answer and discarded.
            Cancelled when the client disconnects.
        limits: of every connection, and of all together.
        monitor: counts the connections that are dropped.
        stopping: once it is set, connections close after their next answer, so that clients open
            the next one to another replica.

    Attributes:
        handler_type: of its connections.
        commons: what they share.
    """

    handler_type: type[LimitedHandler] = LimitedHandler

    def __init__(
        self,
        handler: Handler,
        limits: Limits = DEFAULT,
        *,
        monitor: Monitor | None = None,
        stopping: asyncio.Event | None = None,
    ) -> None:
        super().__init__(handler, handler_cancellation=True)
        self.commons = Commons(limits, monitor, stopping or asyncio.Event())

    def connection(self, place: Place, tls: ssl.SSLObject | None) -> LimitedHandler:
        """The handler of a connection whose handshake is done."""
        # It returns a certificate only if the certificate verifies.
        if tls is not None and tls.getpeercert(binary_form=True) is not None:
            # Without a place for another, it is treated as unverified.
            self.commons.places.verify(place)
        loop = asyncio.get_running_loop()
        handler = self.handler_type(self, loop=loop, commons=self.commons, place=place)
        place.give_up = handler.give_way
        return handler
