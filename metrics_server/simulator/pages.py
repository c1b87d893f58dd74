"""Servers of metrics pages on loopback, with the faults that a test or the demo sets."""

from abc import ABC, abstractmethod
from typing import Self

from aiohttp import web

from metrics_server.simulator.faults import Fault


class PageServer(ABC):
    """A metrics page on its own port of 127.0.0.1.

    Use it as an asynchronous context manager, or start and close it.
    """

    def __init__(self) -> None:
        self.scrapes = 0
        self._fault: Fault | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0

    @abstractmethod
    def page(self) -> str:
        """Return the page as it is now."""

    @property
    def port(self) -> int:
        """The port, which faults do not change; 0 before the start."""
        return self._port

    @property
    def url(self) -> str:
        """The URL of the page."""
        return f"http://127.0.0.1:{self._port}/metrics"

    @property
    def fault(self) -> Fault | None:
        """The current fault."""
        return self._fault

    async def start(self) -> None:
        """Start listening."""
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        # Closing must not wait for a slow answer, and a client that left needs none.
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        self._port = int(runner.addresses[0][1])
        self._runner = runner

    async def close(self) -> None:
        """Close the socket and every connection."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def set_fault(self, fault: Fault | None) -> None:
        """Set a fault, or remove it with None."""
        self._fault = fault
        if fault is not None and fault.kind == "down":
            await self.close()
        elif self._runner is None:
            await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(self, _: web.Request) -> web.Response:
        self.scrapes += 1
        kind = None if self._fault is None else self._fault.kind
        if kind == "error":
            return web.Response(status=500, text="simulated: the collection failed\n")
        if kind == "garbage":
            return web.Response(body=bytes(range(128, 256)) * 8, content_type="text/plain")
        if self._fault is not None:
            await self._fault.delay()
        return web.Response(text=self.page(), content_type="text/plain", charset="utf-8")
