"""Exporters that fail, each in a way of its own."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.faults.raw import RawServer, reset
from tests.support.exporters import page

ASKED = 3
"""How often an HPA asks while the fault lasts."""

BEFORE = page({("default", "a"): [20], ("default", "b"): [80]}).encode()
AFTER = page({("default", "a"): [40], ("default", "b"): [80]}).encode()
# As much of the page as has the first pod in it, and ends where a line does.
PART = BEFORE[: BEFORE.index(b"\n", BEFORE.index(b'pod="a"')) + 1]

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Exporter(RawServer):
    """An exporter with connections that are kept, and with a fault where a test sets one.

    Attributes:
        page: what it serves while it is well.
        behave: what it does with a request instead; None while it is well.
        asked: the paths it was asked for.
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
    """A response; its Content-Length may be another than that of the body."""
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
    """Sends these bytes, and then nothing more."""

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
    """Sends its page a byte at a time, for longer than a scrape may take."""
    for byte in response(BEFORE):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.005)


async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends rows without end."""
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    while True:
        writer.write(b"%x\r\n%s\r\n" % (100 * len(BEFORE), 100 * BEFORE))
        await writer.drain()


# Logged when a question has no measurement any more.
MISSING = "Failed to get real metrics"
