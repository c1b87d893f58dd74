"""A listener that drops slow connections soon, and connections to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from metrics_server.http.limits import Limits
from metrics_server.http.listener import listening
from metrics_server.tls.authority import Authority
from metrics_server.tls.context import ListeningContext
from tests.support.peers import (
    HOST,
    PATIENCE_SECONDS,
    client_pair,
    server,
    trusting,
    vouching,
)

AUTHORITY = Authority("test")
CLIENTS = Authority("clients")
PAIR = client_pair(CLIENTS, "proxy")
REQUEST = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n"


def context() -> ListeningContext:
    """A context for a listener, which requests certificates."""
    made = ListeningContext(AUTHORITY.issue([HOST]))
    made.use_verifier(vouching(CLIENTS.bundle))
    return made


def verified() -> ssl.SSLContext:
    """A client with a certificate."""
    return trusting(AUTHORITY.bundle, PAIR)


@asynccontextmanager
async def serving(limits: Limits) -> AsyncIterator[int]:
    """The port of a server with limits."""
    async with listening(server(limits), HOST, 0, context()) as (_, port):
        yield port


@asynccontextmanager
async def connection(
    port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is closed after use, whatever happens."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Everything received until the server ends a connection."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            return await reader.read()
        except ConnectionError:
            return b""
