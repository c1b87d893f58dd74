"""The HTTP client's connections: kept, closed, and verified."""

import asyncio
import gc
import ssl
import weakref
from collections.abc import AsyncIterator

import pytest

from metrics_server.http.client import TLS, HTTPClient
from metrics_server.http.exchange import DisconnectedError
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from tests.support.http_exchanges import ANY, PAGE, Everything, get, sending, server
from tests.support.peers import HOST
from tests.support.waiting import until


@pytest.fixture
async def client() -> AsyncIterator[HTTPClient]:
    """A client."""
    one = HTTPClient({"X-Always": "1"}, keepalive=60)
    yield one
    await one.close()


@pytest.mark.parametrize("says", [b"", b"Connection: close\r\n"])
async def test_connections_are_kept(client: HTTPClient, says: bytes) -> None:
    """Unless the server announces that it closes them."""
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


class AnswersOnce:
    """A server that closes each connection on its second request.

    Attributes:
        asked: how many requests it has received.
    """

    asked = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection."""
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        writer.write(PAGE)
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1


@pytest.mark.parametrize("body", [None, b"x"])
async def test_a_connection_that_is_closed_as_it_is_used(
    client: HTTPClient, body: bytes | None
) -> None:
    """The request is sent again, on a new one."""
    once = AnswersOnce()
    async with server(once.talk) as url:
        assert await get(client, url) == b"hello"
        sent = client.exchange(url, Everything(), tls=ANY, headers={}, body=body)
        assert await sent == b"hello"
    assert once.asked == 3


async def test_a_request_that_crashes_its_server_is_not_sent_again(
    client: HTTPClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next replica would crash, too."""
    monkeypatch.setattr("metrics_server.http.client._ROUND_TRIP_SECONDS", 0)
    once = AnswersOnce()
    async with server(once.talk) as url:
        assert await get(client, url) == b"hello"
        with pytest.raises((DisconnectedError, ConnectionError)):
            await get(client, url)
    assert once.asked == 2


async def test_no_request_is_sent_again_once_the_client_is_closed(client: HTTPClient) -> None:
    """Even though its connection was idle before."""
    asked: list[asyncio.StreamReader] = []
    is_asked = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.append(reader)
        writer.write(PAGE)
        await reader.readuntil(b"\r\n\r\n")
        asked.append(reader)
        is_asked.set()
        await reader.read()

    async with server(talk) as url:
        assert await get(client, url) == b"hello"
        request = asyncio.create_task(get(client, url))
        await is_asked.wait()
        await client.close()
        with pytest.raises((DisconnectedError, ConnectionError)):
            await request
        assert len(asked) == 2


async def test_an_idle_connection_receives_nothing(client: HTTPClient) -> None:
    """Later data would pass for the next response: the connection is closed."""
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
    """Both unused ones, and one that is about to be reused."""
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
    """Its connection is closed, whether it is new or reused."""
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
    """A connection verified for one name is not used for another."""
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


async def test_a_response_does_not_wait_for_the_garbage_collector(client: HTTPClient) -> None:
    """The received data are freed with their last reference."""
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
