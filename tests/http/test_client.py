"""The HTTP client, against servers that send anything."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.http.client import HTTPClient, media_type
from metrics_server.http.exchange import (
    DisconnectedError,
    Exchange,
    ExchangeError,
    InvalidHTTPError,
    TruncatedError,
)
from tests.support.http_exchanges import ANY, PAGE, Everything, get, sending, server
from tests.support.peers import HOST


@pytest.fixture
async def client() -> AsyncIterator[HTTPClient]:
    """A client."""
    one = HTTPClient({"X-Always": "1"}, keepalive=60)
    yield one
    await one.close()


async def test_what_is_sent(client: HTTPClient) -> None:
    """A request as it is on the wire, without the URL's fragment."""
    talk, received = sending(PAGE, PAGE)
    async with server(talk) as url:
        assert await get(client, url) == b"hello"
        got = await client.exchange(url, Everything(), tls=ANY, headers={"A": "b"}, body=b"x=y")
    host = url.split("/")[2].encode()
    assert got == b"hello"
    assert received == [
        b"GET /metrics?a=b HTTP/1.1\r\nHost: %b\r\nX-Always: 1\r\n\r\n" % host,
        b"POST /metrics?a=b HTTP/1.1\r\nHost: %b\r\nX-Always: 1\r\nA: b\r\n"
        b"Content-Length: 3\r\n\r\nx=y" % host,
    ]


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ftp://127.0.0.1/", {}),
        ("http:///metrics", {}),
        ("http://127.0.0.1:1/", {"A": "b\r\nC: d"}),
        ("http://127.0.0.1:1/", {"A\n": "b"}),
    ],
)
async def test_what_cannot_be_sent(
    client: HTTPClient, url: str, headers: Mapping[str, str]
) -> None:
    """A URL of another scheme, or a header that would become two."""
    with pytest.raises(ValueError, match=r"URL|header"):
        await client.exchange(url, Everything(), tls=ANY, headers=headers)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (PAGE, b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 P\r\nA: b\r\n\r\n" + PAGE, b"hello"),
        (
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"2\r\nhe\r\n1;x=y\r\nl\r\n2\r\nlo\r\n0\r\nTrailer: t\r\n\r\n"
            ),
            b"hello",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
    ids=["length", "interim", "chunks", "until closed", "no content", "empty"],
)
async def test_whole_responses(client: HTTPClient, answer: bytes, body: bytes) -> None:
    """Each way in which a response can end."""
    talk, _ = sending(answer, close=True)
    async with server(talk) as url:
        assert await get(client, url) == body


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", DisconnectedError),
        (b"HTTP/1.1 200 OK\r\nContent-", DisconnectedError),
        (PAGE[:-1], TruncatedError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", TruncatedError),
        (PAGE + b"!", InvalidHTTPError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", InvalidHTTPError),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            InvalidHTTPError,
        ),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", InvalidHTTPError),
        (b"A: " + b"b" * 40_000, InvalidHTTPError),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 40_000, InvalidHTTPError),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 9000, InvalidHTTPError),
    ],
)
async def test_what_is_not_a_whole_response(
    client: HTTPClient, answer: bytes, error: type[ExchangeError]
) -> None:
    """Each has a different error."""
    talk, _ = sending(answer, close=True)
    async with server(talk) as url:
        with pytest.raises(error):
            await get(client, url)


async def test_tiny_chunks_have_a_bound() -> None:
    """Too many of them at once would block the event loop."""
    exchange = Exchange(b"", Everything())
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    exchange.received(memoryview(head + b"b\r\nhello world\r\n" * 8000))
    assert not exchange.ended.done()
    exchange.received(memoryview(b"b\r\nhello world\r\n" * 9000))
    assert str(exchange.ended.result()) == "it consists of too many headers or chunks"


async def test_enough(client: HTTPClient) -> None:
    """The rest of a body is not received, and the connection is not reused."""
    talk, received = sending(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhello", PAGE)
    async with server(talk) as url:
        assert await get(client, url, Everything(5)) == b"hello"
        assert await get(client, url) == b"hello"
    assert len(received) == 2


async def test_what_a_receiver_raises_reaches_the_caller(client: HTTPClient) -> None:
    """From the head and from the body."""

    class Refuses(Everything):
        def begin(self, status: int, headers: Mapping[str, str]) -> None:
            super().begin(status, headers)
            raise KeyError(headers["content-length"])

    talk, _ = sending(PAGE)
    async with server(talk) as url:
        with pytest.raises(KeyError, match="5"):
            await get(client, url, Refuses())


async def test_a_name_is_resolved(client: HTTPClient) -> None:
    """A name that does not exist has a separate error."""
    talk, received = sending(PAGE)
    async with server(talk) as url:
        assert await get(client, url.replace(HOST, "localhost")) == b"hello"
    assert b"\r\nHost: localhost:" in received[0]
    with pytest.raises(socket.gaierror):
        await get(client, "http://nowhere.invalid/")


async def test_beside_aiohttp(client: HTTPClient) -> None:
    """A real server's long response, in chunks and in one piece."""
    body = b"0123456789abcdef\n" * 50_000

    async def whole(_: web.Request) -> web.Response:
        return web.Response(body=body)

    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for begin in range(0, len(body), 5000):
            await response.write(body[begin : begin + 5000])
        return response

    app = web.Application()
    app.router.add_get("/whole", whole)
    app.router.add_get("/chunked", chunked)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        for path in ("whole", "chunked"):
            url = f"http://{HOST}:{runner.addresses[0][1]}/{path}"
            assert await get(client, url) == body
    finally:
        await runner.cleanup()


@given(st.lists(st.binary(max_size=40)), st.sampled_from([b"", PAGE[:20], PAGE, PAGE[:-5]]))
def test_no_bytes_raise(parts: list[bytes], before: bytes) -> None:
    """Whatever is received, an exchange ends at most once."""

    async def receive() -> None:
        exchange = Exchange(b"", Everything(30))
        for part in (before, *parts):
            if not exchange.ended.done():
                exchange.received(memoryview(part))
        exchange.disconnected(None)
        error = await exchange.ended
        assert error is None or isinstance(error, ExchangeError)

    asyncio.run(receive())


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, "application/octet-stream"),
        ({"content-type": "Text/Plain; charset=utf-8"}, "text/plain"),
    ],
)
def test_media_type(headers: Mapping[str, str], kind: str) -> None:
    """Without parameters."""
    assert media_type(headers) == kind
