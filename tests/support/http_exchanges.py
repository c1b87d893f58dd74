"""Servers that send anything, and a receiver for it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from metrics_server.http.client import TLS, HTTPClient
from tests.support.peers import HOST

ANY = TLS(ssl.create_default_context())
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Everything:
    """Receives anything, up to a size."""

    def __init__(self, most: int = 10_000_000) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._most = most

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Note the head."""
        self.status, self.headers = status, headers

    def grow(self, size: int) -> bool:
        """Stop above the size."""
        return size < self._most


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a server that handles each connection with `talk`."""
    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, HOST, 0, ssl=context) as one:
        port = one.sockets[0].getsockname()[1]
        yield f"http{'s' if context else ''}://{HOST}:{port}/metrics?a=b#c"
        for writer in connections:
            writer.close()


async def get(client: HTTPClient, url: str, receiver: Everything | None = None) -> bytes:
    """The body at this URL."""
    got = await client.exchange(url, receiver or Everything(), tls=ANY, headers={})
    return bytes(got)


def sending(*answers: bytes, close: bool = False) -> tuple[Talk, list[bytes]]:
    """A server that gives these answers in turn, on any connection, and what it received."""
    left = iter(answers)
    received: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            received.append(head + await reader.readexactly(int(length or b"0")))
            writer.write(next(left))
            await writer.drain()
            if close:
                return

    return talk, received
