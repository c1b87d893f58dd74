"""Servers of metrics pages on loopback: many addresses or ports, and one application."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Self

from aiohttp import web


class Pages:
    """Serves pages at /metrics, at each address that it listens at.

    Args:
        page: returns the page of an address.
        delay: how many seconds an answer takes; None for no pause at all.
    """

    def __init__(self, page: Callable[[str], bytes], delay: float | None = None) -> None:
        self._page = page
        self._delay = delay
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, access_log=None)

    async def started(self, stack: AsyncExitStack) -> Self:
        """Start it, until the stack is closed."""
        stack.push_async_callback(self._runner.cleanup)
        await self._runner.setup()
        return self

    async def listen(self, address: str, port: int = 0) -> int:
        """Listen at an address; return the port, which is a free one by default."""
        await web.TCPSite(self._runner, address, port).start()
        return int(self._runner.addresses[-1][1])

    async def _answer(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        address, _ = request.transport.get_extra_info("sockname")
        if self._delay is not None:
            await asyncio.sleep(self._delay)
        return web.Response(body=self._page(address), content_type="text/plain", charset="utf-8")
