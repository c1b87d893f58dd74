"""Fakes of Prometheus's query API on real sockets, and clients of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from metrics_server.errors import QueryError
from metrics_server.sources.prometheus.client import PrometheusClient, PrometheusSettings
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from tests.support.peers import HOST

JSON = "Content-Type: application/json\r\n"
VECTOR = (
    '{"status":"success","data":{"resultType":"vector","result":'
    '[{"metric":{"pod":"a"},"value":[1,"2"]}]}}'
)


def response(body: str | bytes, head: str = JSON, status: str = "200 OK") -> bytes:
    """A whole response."""
    data = body.encode() if isinstance(body, str) else body
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def error_of(kind: str, words: str) -> str:
    """An error as Prometheus sends it."""
    return f'{{"status":"error","errorType":"{kind}","error":"{words}"}}'


@asynccontextmanager
async def raw(answer: bytes) -> AsyncIterator[str]:
    """The URL of a server that sends these bytes to any request, and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        try:
            await writer.drain()
        except ConnectionError:
            return
        writer.close()

    server = await asyncio.start_server(handle, HOST, 0)
    async with server:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}"


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, pair_of: Authority | None = None) -> AsyncIterator[str]:
    """The URL of a server, over TLS if there is an authority for its certificate."""
    context = None
    if pair_of is not None:
        context = await asyncio.to_thread(context_from_pair, pair_of.issue([HOST]))
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
        yield f"{'https' if context else 'http'}://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client(settings: PrometheusSettings) -> AsyncIterator[PrometheusClient]:
    """A client for as long as the context."""
    one = PrometheusClient(settings)
    try:
        yield one
    finally:
        await one.close()


async def failure(settings: PrometheusSettings, query: str = "up") -> QueryError:
    """The error of a failing query."""
    async with client(settings) as one:
        with pytest.raises(QueryError) as raised:
            await one.query(query)
    return raised.value
