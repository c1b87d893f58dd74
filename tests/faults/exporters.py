"""Exporters that fail in different ways."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.faults.raw import RawServer, reset
from tests.support.exporters import page

ASKED = 3
"""How often an HPA asks while the fault lasts."""

BEFORE = page({("default", "a"): [20], ("default", "b"): [80]}).encode()
AFTER = page({("default", "a"): [40], ("default", "b"): [80]}).encode()
# The part of the page up to the end of the first pod's line.
PART = BEFORE[: BEFORE.index(b"\n", BEFORE.index(b'pod="a"')) + 1]

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Exporter(RawServer):
    """An exporter with persistent connections, and an optional fault.

    Attributes:
        page: its page while it is well.
        behave: its response while it has a fault; None while it is well.
        asked: the requested paths.
    """

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.page = BEFORE
        self.behave: Behave | None = None
        self.asked: list[str] = []

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split()[1].decode())
            if self.behave is not None:
                await self.behave(reader, writer)
                return
            writer.write(response(self.page))
            await writer.drain()


def response(body: bytes, *, length: int | None = None, headers: bytes = b"") -> bytes:
    """A response; its Content-Length may differ from the body's."""
    told = len(body) if length is None else length
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        + headers
        + b"Content-Length: %d\r\n\r\n" % told
        + body
    )


def sends(data: bytes) -> Behave:
    """Sends these bytes, and closes."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return behave


def hangs_after(data: bytes) -> Behave:
    """Sends these bytes, and then hangs."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await reader.read()

    return behave


def resets_after(data: bytes) -> Behave:
    """Sends these bytes, and resets the connection."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        reset(writer)

    return behave


async def drips(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends its page byte by byte, for longer than a scrape may take."""
    for byte in response(BEFORE):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.005)


async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends rows endlessly."""
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    while True:
        writer.write(b"%x\r\n%s\r\n" % (100 * len(BEFORE), 100 * BEFORE))
        await writer.drain()


# Logged when a question no longer has a measurement.
MISSING = "Failed to get real metrics"
