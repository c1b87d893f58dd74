"""Servers of metrics pages on loopback: many addresses or ports, each with its page.

With a web framework they would take more processor time than the measured server.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import cast


class Pages:
    """Serves pages, whatever the path, at each address that it listens on.

    Args:
        stack: closes it.
        page: returns the page of an address.
        delay: the seconds before each answer; None for no pause at all.
    """

    def __init__(
        self, stack: AsyncExitStack, page: Callable[[str], bytes], delay: float | None = None
    ) -> None:
        self._stack = stack
        self._exporter = partial(_Exporter, page, delay)

    async def listen(self, address: str, port: int = 0) -> int:
        """Listen on an address; return the port, a free one by default."""
        server = await asyncio.get_running_loop().create_server(self._exporter, address, port)
        self._stack.callback(server.close)
        bound: tuple[str, int] = server.sockets[0].getsockname()
        return bound[1]


class _Exporter(asyncio.Protocol):
    """A connection that takes one request after another."""

    def __init__(self, page: Callable[[str], bytes], delay: float | None) -> None:
        self._page = page
        self._delay = delay
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\r\n\r\n"):
            return
        self._received = b""
        if self._delay is None:
            self._send()
        else:
            asyncio.get_running_loop().call_later(self._delay, self._send)

    def _send(self) -> None:
        address, *_ = self._transport.get_extra_info("sockname")
        page = self._page(address)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(page)}\r\n\r\n"
        self._transport.write(head.encode() + page)
