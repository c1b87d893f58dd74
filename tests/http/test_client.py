"""The HTTP client against servers that send anything, on both event loops."""

import asyncio
import gc
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.http.client import TLS, HTTPClient, media_type
from metrics_server.http.exchange import (
    DisconnectedError,
    Exchange,
    ExchangeError,
    InvalidHTTPError,
    TruncatedError,
)
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from tests.support.peers import HOST
from tests.support.waiting import until

ANY = TLS(ssl.create_default_context())
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Everything:
    """Receives whatever there is, up to a size."""

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
    """The URL of a server that does this with each connection."""
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


@pytest.fixture
async def client() -> AsyncIterator[HTTPClient]:
    """A client."""
    one = HTTPClient({"X-Always": "1"}, keepalive=60)
    yield one
    await one.close()


async def get(client: HTTPClient, url: str, receiver: Everything | None = None) -> bytes:
    """The body at this URL."""
    got = await client.exchange(url, receiver or Everything(), tls=ANY, headers={})
    return bytes(got)


def sending(*answers: bytes, close: bool = False) -> tuple[Talk, list[bytes]]:
    """A server that gives these answers in turn, on whatever connection, and what it received."""
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


async def test_what_is_sent(client: HTTPClient) -> None:
    """A request as it is on the wire; the fragment of the URL is not."""
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
    """A URL of another kind, or a header that would be two."""
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
    """Each way in which a response can be complete."""
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
    """Each has its own error."""
    talk, _ = sending(answer, close=True)
    async with server(talk) as url:
        with pytest.raises(error):
            await get(client, url)


async def test_tiny_chunks_have_a_bound() -> None:
    """So many of them at once would keep the event loop from its other work."""
    exchange = Exchange(b"", Everything())
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    exchange.received(memoryview(head + b"b\r\nhello world\r\n" * 8000))
    assert not exchange.ended.done()
    exchange.received(memoryview(b"b\r\nhello world\r\n" * 9000))
    assert str(exchange.ended.result()) == "it consists of too many headers or chunks"


async def test_enough(client: HTTPClient) -> None:
    """The rest of a body is not received, and the connection is not used again."""
    talk, received = sending(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhello", PAGE)
    async with server(talk) as url:
        assert await get(client, url, Everything(5)) == b"hello"
        assert await get(client, url) == b"hello"
    assert len(received) == 2


async def test_what_a_receiver_raises_reaches_the_caller(client: HTTPClient) -> None:
    """Both from the head and from the body."""

    class Refuses(Everything):
        def begin(self, status: int, headers: Mapping[str, str]) -> None:
            super().begin(status, headers)
            raise KeyError(headers["content-length"])

    talk, _ = sending(PAGE)
    async with server(talk) as url:
        with pytest.raises(KeyError, match="5"):
            await get(client, url, Refuses())


@pytest.mark.parametrize("says", [b"", b"Connection: close\r\n"])
async def test_connections_are_kept(client: HTTPClient, says: bytes) -> None:
    """Unless the server says that it closes them."""
    connections: set[asyncio.StreamWriter] = set()
    answer = PAGE.replace(b"\r\nContent", b"\r\n" + says + b"Content")
    talk, _ = sending(*[answer] * 3)

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        await talk(reader, writer)

    async with server(counted) as url:
        for _ in range(3):
            assert await get(client, url) == b"hello"
    assert len(connections) == (3 if says else 1)


@pytest.mark.parametrize("body", [None, b"x"])
async def test_a_connection_that_is_closed_as_it_is_used(
    client: HTTPClient, body: bytes | None
) -> None:
    """A GET is sent again, on a new connection; a POST is not."""
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        writer.write(PAGE)
        # Closes only once the next request is there.
        await reader.readuntil(b"\r\n\r\n")
        asked += 1

    async with server(talk) as url:
        assert await get(client, url) == b"hello"
        if body is None:
            assert await get(client, url) == b"hello"
            assert asked == 3
        else:
            with pytest.raises((DisconnectedError, ConnectionError)):
                await client.exchange(url, Everything(), tls=ANY, headers={}, body=body)
            assert asked == 2


async def test_an_idle_connection_receives_nothing(client: HTTPClient) -> None:
    """What comes later would pass for the next response: the connection is closed."""
    closed = asyncio.Event()
    go_on = asyncio.Event()
    served = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await reader.readuntil(b"\r\n\r\n")
        served += 1
        writer.write(PAGE)
        if served == 1:
            await go_on.wait()
            writer.write(PAGE.replace(b"hello", b"wrong"))
            await reader.read()
            closed.set()
        else:
            await reader.read()

    async with server(talk) as url:
        assert await get(client, url) == b"hello"
        go_on.set()
        await closed.wait()
        assert await get(client, url) == b"hello"
    assert served == 2


async def test_idle_connections_expire() -> None:
    """Both unused ones, and one that is about to be used."""
    client = HTTPClient({}, keepalive=0.05)
    closed = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal closed
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PAGE)
        await reader.read()
        closed += 1

    async with server(talk) as url:
        await asyncio.gather(*(get(client, url) for _ in range(3)))
        await until(lambda: closed == 3)
        assert await get(client, url) == b"hello"
        await client.close()
        await until(lambda: closed == 4)


async def test_a_caller_that_gives_up(client: HTTPClient) -> None:
    """Its connection is closed, whether or not it was used before."""
    closed = 0

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal closed
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        closed += 1

    async with server(talk) as url:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await get(client, url)
        await until(lambda: closed == 1)


async def test_each_name_has_its_connection() -> None:
    """One that was verified for a name is not used for another."""
    authority = Authority("servers")
    context = await asyncio.to_thread(context_from_pair, authority.issue([HOST, "one", "two"]))
    trusting = ssl.create_default_context(cadata=authority.bundle.decode())
    names: list[str | None] = []

    def named(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        names.append(name)

    context.sni_callback = named
    talk, received = sending(*[PAGE] * 4)
    client = HTTPClient({}, keepalive=60)
    async with server(talk, context) as url:
        for name in ("one", "two", "one", None):
            tls = TLS(trusting, name)
            assert await client.exchange(url, Everything(), tls=tls, headers={}) == b"hello"
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.exchange(url, Everything(), tls=TLS(trusting, "three"), headers={})
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.exchange(url, Everything(), tls=ANY, headers={})
        await client.close()
    assert names[:3] == ["one", "two", None]
    assert len(received) == 4


async def test_a_name_is_resolved(client: HTTPClient) -> None:
    """And one that does not exist is an error of its own."""
    talk, received = sending(PAGE)
    async with server(talk) as url:
        assert await get(client, url.replace(HOST, "localhost")) == b"hello"
    assert b"\r\nHost: localhost:" in received[0]
    with pytest.raises(socket.gaierror):
        await get(client, "http://nowhere.invalid/")


async def test_beside_aiohttp(client: HTTPClient) -> None:
    """A long response of a real server, in chunks and in one piece."""
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
    """Whatever is received, an exchange has at most one end."""

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


async def test_a_response_does_not_wait_for_the_garbage_collector(client: HTTPClient) -> None:
    """What was received is freed with the last reference to it."""
    receivers: list[weakref.ref[Everything]] = []

    async def ask(url: str) -> None:
        receiver = Everything()
        receivers.append(weakref.ref(receiver))
        assert await get(client, url, receiver) == b"hello"

    talk, _ = sending(PAGE)
    gc.disable()
    try:
        async with server(talk) as url:
            await asyncio.create_task(ask(url))
            await until(lambda: receivers[0]() is None)
    finally:
        gc.enable()
