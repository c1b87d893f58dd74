"""A listener on loopback, and connections to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry

from metrics_server.http.limits import Limits
from metrics_server.http.listener import listening
from metrics_server.http.reply import Reply
from metrics_server.http.server import Handler, LimitedServer
from metrics_server.telemetry.metrics import Monitor
from tests.support.listening import context
from tests.support.peers import HOST

# More than the buffers of both kernels and TLS hold, and too little for a test to notice.
MUCH = 4 * 1024 * 1024
BOUND = 1024 * 1024


class Served:
    """A server, and its counts."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self.registry = CollectorRegistry()
        self.server = LimitedServer(handler, limits, monitor=Monitor(self.registry))
        self.port = 0

    def dropped_for(self, reason: str) -> Callable[[], Awaitable[float]]:
        """A function that returns how many connections were dropped for a reason."""

        async def ask() -> float:
            return self.dropped(reason)

        return ask

    def dropped(self, reason: str) -> float:
        """How many connections were dropped for a reason."""
        name = "gpu_metrics_server_connections_dropped_total"
        return self.registry.get_sample_value(name, {"reason": reason}) or 0


@asynccontextmanager
async def serving(handler: Handler, limits: Limits | None = None) -> AsyncIterator[Served]:
    """A server that runs for as long as the context."""
    served = Served(handler, limits or Limits())
    async with listening(served.server, HOST, 0, context()) as (_, served.port):
        yield served


async def hello(_: web.BaseRequest) -> Reply:
    """A short answer."""
    return Reply(b"hello")
