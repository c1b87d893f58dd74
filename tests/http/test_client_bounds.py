"""What the HTTP client bounds, frees and closes, whatever servers send and callers cancel."""

import asyncio
import gc
import ssl
import weakref
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.http.client import TLS, HTTPClient
from metrics_server.http.exchange import (
    DisconnectedError,
    Exchange,
    ExchangeError,
    InvalidHTTPError,
    TruncatedError,
)
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from tests.support.http_exchanges import ANY, PAGE, Everything, get, sending, server
from tests.support.peers import HOST
from tests.support.waiting import until

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture
async def client() -> AsyncIterator[HTTPClient]:
    """A client."""
    one = HTTPClient({}, keepalive=60)
    yield one
    await one.close()


async def outcome(*parts: bytes) -> Exchange:
    """An exchange that has received only these parts."""
    exchange = Exchange(b"", Everything())
    for part in parts:
        if not exchange.ended.done():
            exchange.received(memoryview(part))
    return exchange


@pytest.mark.parametrize(
    "part",
    [
        b"0\r\nA: " + b"b" * 40_000,
        b"0\r\n" + b"A: b\r\n" * 7000,
        b"1;" + b"a" * 40_000,
        b"0" * 40_000,
    ],
    ids=["trailer", "trailers", "extension", "zeros"],
)
async def test_what_frames_a_body_has_a_bound(part: bytes) -> None:
    """An endless trailer would take memory, and quadratic time, until the deadline."""
    exchange = await outcome(CHUNKED, part)
    assert isinstance(exchange.ended.result(), InvalidHTTPError)
    assert "outweigh its body" in str(exchange.ended.result())


async def test_all_tiny_chunks_have_a_bound() -> None:
    """However they are spread over the received parts."""
    exchange = await outcome(CHUNKED, *[b"1\r\nx\r\n" * 1000] * 10)
    assert isinstance(exchange.ended.result(), InvalidHTTPError)


async def test_a_chunk_for_each_short_line() -> None:
    """As from a server that does not buffer, with a trailer."""
    line = b"c\r\nmetric_a 12\n\r\n"
    exchange = await outcome(CHUNKED, *[line * 5000] * 10, b"0\r\nA: b\r\n\r\n")
    assert exchange.ended.result() is None
    assert exchange.body == b"metric_a 12\n" * 50_000


async def test_trailers_are_ignored() -> None:
    """The receiver has checked the head."""
    receiver = Everything()
    exchange = Exchange(b"", receiver)
    exchange.received(memoryview(CHUNKED + b"0\r\nContent-Type: text/html\r\n\r\n"))
    assert exchange.ended.result() is None
    assert receiver.headers == {"transfer-encoding": "chunked"}


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Type: text/html\r\nContent-Type: text/plain\r\n",
        b"Content-Length: 5\r\nContent-Encoding: gzip\r\nContent-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
    ],
)
async def test_headers_that_contradict_each_other(head: bytes) -> None:
    """The body would depend on the interpretation."""
    exchange = await outcome(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
    assert isinstance(exchange.ended.result(), InvalidHTTPError)


async def test_headers_that_repeat_each_other(client: HTTPClient) -> None:
    """Some proxies send them."""
    twice = b"Content-Type: text/plain\r\n" * 2
    talk, _ = sending(PAGE.replace(b"Content-L", twice + b"Content-L"))
    async with server(talk) as url:
        assert await get(client, url) == b"hello"


@given(st.integers(1, len(CHUNKED) + 40), st.integers(1, 40))
def test_however_it_is_split(first: int, rest: int) -> None:
    """The way a response is split makes no difference."""
    whole = CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: t\r\n\r\n"
    split = [whole[:first]] + [whole[at : at + rest] for at in range(first, len(whole), rest)]

    async def receive() -> None:
        exchange = await outcome(*split)
        assert exchange.ended.result() is None
        assert (bytes(exchange.body), exchange.is_reusable) == (b"hello", True)

    asyncio.run(receive())


async def test_a_body_without_an_end_is_freed() -> None:
    """At once, although the error's traceback refers to it."""
    truncated = await outcome(PAGE[:-1])
    truncated.disconnected(None)
    assert isinstance(truncated.ended.result(), TruncatedError)
    given_up = await outcome(PAGE[:-1])
    given_up.ended.cancel()
    given_up.disconnected(None)
    assert (truncated.body, given_up.body) == (b"", b"")


async def test_a_caller_that_gives_up_leaves_nothing(client: HTTPClient) -> None:
    """The received data are freed without the garbage collector."""
    receivers: list[weakref.ref[Everything]] = []
    began = asyncio.Event()

    class Noting(Everything):
        def grow(self, size: int) -> bool:
            began.set()
            return super().grow(size)

    async def ask(url: str) -> None:
        receiver = Noting()
        receivers.append(weakref.ref(receiver))
        await get(client, url, receiver)

    talk, _ = sending(PAGE[:-1])
    gc.disable()
    try:
        async with server(talk) as url:
            asking = asyncio.create_task(ask(url))
            await began.wait()
            asking.cancel()
            await asyncio.wait([asking])
            del asking
            await until(lambda: receivers[0]() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_caller_that_gives_up_at_any_moment(
    loop: Callable[[], asyncio.AbstractEventLoop], *, secure: bool
) -> None:
    """Every connection is closed, and no later socket is mistaken for one of them."""
    authority = Authority("servers")
    context = context_from_pair(authority.issue([HOST])) if secure else None
    tls = TLS(ssl.create_default_context(cadata=authority.bundle.decode()))
    unhandled: list[object] = []
    opened: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.add(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(PAGE)
        finally:
            opened.discard(writer)

    async def give_up(turns: int, url: str) -> None:
        client = HTTPClient({}, keepalive=60)
        asking = asyncio.create_task(client.exchange(url, Everything(), tls=tls, headers={}))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        if not asking.cancelled():
            assert asking.result() == b"hello"
        await client.close()

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, what: unhandled.append(what) if "transport" not in what else None
        )
        async with server(talk, context) as url:
            for turns in range(40):
                await give_up(turns, url)
            await until(lambda: not opened)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())
    assert not unhandled


async def test_closing_while_connecting(client: HTTPClient) -> None:
    """The request fails, and leaves no connection open."""
    talk, _ = sending(PAGE)
    async with server(talk) as url:
        asking = asyncio.create_task(get(client, url))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(ExchangeError):
            await asking


async def test_closing_twice(client: HTTPClient) -> None:
    """Both wait for the connections, even after a cancelled attempt."""

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(talk) as url:
        asking = asyncio.create_task(get(client, url))
        await asyncio.sleep(0.05)
        closings = [asyncio.create_task(client.close()) for _ in range(3)]
        await asyncio.sleep(0)
        closings[0].cancel()
        async with asyncio.timeout(5):
            await asyncio.wait(closings)
        with pytest.raises(DisconnectedError):
            await asking


async def test_a_name_with_a_final_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a certificate it is the same name without the dot."""
    authority = Authority("servers")
    context = await asyncio.to_thread(context_from_pair, authority.issue(["localhost"]))
    tls = TLS(ssl.create_default_context(cadata=authority.bundle.decode()))
    talk, _ = sending(PAGE)
    client = HTTPClient({}, keepalive=60)
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo
    monkeypatch.setattr(loop, "getaddrinfo", lambda _, port, **how: resolve(HOST, port, **how))
    async with server(talk, context) as url:
        dotted = url.replace(HOST, "localhost.")
        assert await client.exchange(dotted, Everything(), tls=tls, headers={}) == b"hello"
        await client.close()


async def test_a_retry_is_the_only_one(client: HTTPClient) -> None:
    """A server that closes each connection without an answer gets at most two requests."""
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        if asked == 1:
            writer.write(PAGE)
            await reader.readuntil(b"\r\n\r\n")
            asked += 1

    async with server(talk) as url:
        assert await get(client, url) == b"hello"
        with pytest.raises(DisconnectedError):
            await client.exchange(url, Everything(), tls=ANY, headers={})
    assert asked == 3
