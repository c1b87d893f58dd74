import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from aiohttp import ClientSession, TCPConnector, web

from metrics_server.errors import ConfigurationError
from metrics_server.http.limits import Limits
from metrics_server.http.listener import listening
from metrics_server.http.server import LimitedServer
from metrics_server.tls.authority import Authority
from metrics_server.tls.context import ListeningContext
from tests.support.peers import (
    HOST,
    PATIENCE_SECONDS,
    LoopFactory,
    ask,
    client_pair,
    on_both_loops,
    run,
    server,
    trusting,
    vouching,
)

AUTHORITY = Authority("test")
CLIENTS = Authority("clients")
PAIR = client_pair(CLIENTS, "proxy")
REQUEST = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n"
BRIEF_SECONDS = 0.2


def context() -> ListeningContext:
    """A context to listen with, that asks for certificates."""
    made = ListeningContext(AUTHORITY.issue([HOST]))
    made.use_verifier(vouching(CLIENTS.bundle))
    return made


def verified() -> ssl.SSLContext:
    """A client that has a certificate."""
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
    """A connection that is closed after use, however it ended."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends a connection."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@on_both_loops
def test_a_handshake_that_never_comes_is_dropped(new_loop: LoopFactory) -> None:
    """A client that says nothing at all costs a connection for a short time only."""

    async def body() -> None:
        async with (
            serving(Limits(handshake=BRIEF_SECONDS)) as port,
            connection(port) as (reader, _),
        ):
            assert await ended(reader) == b""

    run(new_loop, body())


@on_both_loops
def test_a_client_that_is_silent_after_the_handshake_is_dropped(new_loop: LoopFactory) -> None:
    """The first request is due soon, though between requests there is much time."""

    async def body() -> None:
        limits = Limits(head=BRIEF_SECONDS)
        async with (
            serving(limits) as port,
            connection(port, trusting(AUTHORITY.bundle)) as (reader, _),
        ):
            assert await ended(reader) == b""

    run(new_loop, body())


@on_both_loops
def test_slow_headers_are_dropped(new_loop: LoopFactory) -> None:
    """A head that comes byte by byte has no more time than one that does not come."""

    async def body() -> None:
        limits = Limits(head=BRIEF_SECONDS)
        async with (
            serving(limits) as port,
            connection(port, trusting(AUTHORITY.bundle)) as (reader, writer),
        ):

            async def trickle() -> None:
                for byte in REQUEST + b"X: " + b"y" * 10_000:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.02)

            trickling = asyncio.create_task(trickle())
            # The whole request is in it, so it is answered, were it not for the time.
            assert await ended(reader) == b""
            trickling.cancel()
            await asyncio.wait([trickling])

    run(new_loop, body())


@on_both_loops
def test_a_second_slow_head_is_dropped(new_loop: LoopFactory) -> None:
    """After an answer, too, a head that has begun must come to its end."""

    async def body() -> None:
        limits = Limits(head=BRIEF_SECONDS)
        async with (
            serving(limits) as port,
            connection(port, verified()) as (reader, writer),
        ):
            writer.write(REQUEST)
            await reader.readuntil(b"proxy")
            writer.write(b"GET / HT")
            assert await ended(reader) == b""

    run(new_loop, body())


@pytest.mark.slow
@on_both_loops
def test_an_idle_connection_is_kept_between_requests(new_loop: LoopFactory) -> None:
    """The time for a head does not run while no request has begun; that for idling does."""

    async def body() -> None:
        limits = Limits(head=BRIEF_SECONDS, keepalive=BRIEF_SECONDS * 4)
        async with (
            serving(limits) as port,
            connection(port, verified()) as (reader, writer),
        ):
            for _ in range(3):
                writer.write(REQUEST)
                await reader.readuntil(b"proxy")
                await asyncio.sleep(BRIEF_SECONDS * 2)
            assert await ended(reader) == b""

    run(new_loop, body())


async def test_a_slow_answer_is_no_slow_head() -> None:
    """A request that is being answered has all the time it needs."""

    async def slow(_: web.BaseRequest) -> web.Response:
        await asyncio.sleep(BRIEF_SECONDS * 2)
        return web.Response(text="slowly")

    limits = Limits(head=BRIEF_SECONDS)
    tls = trusting(AUTHORITY.bundle)
    async with listening(LimitedServer(slow, limits=limits), HOST, 0, context()) as (
        _,
        port,
    ):
        assert (await ask(port, tls)).text == "slowly"


async def test_a_head_has_a_greatest_size() -> None:
    """Lines that are each short enough are too many at some point."""
    async with (
        serving(Limits()) as port,
        connection(port, trusting(AUTHORITY.bundle)) as (reader, writer),
    ):
        writer.write(REQUEST[:-2] + b"X: " + b"y" * 8000 + b"\r\n")
        for _ in range(10):
            writer.write(b"X: " + b"y" * 8000 + b"\r\n")
        assert await ended(reader) == b""


@pytest.mark.parametrize("groups", [1, 1100, 8000])
async def test_a_user_may_have_many_groups(groups: int) -> None:
    """kube-apiserver sends each in a line of its own."""
    lines = b"".join(b"X-Remote-Group: system:group-%d\r\n" % n for n in range(groups))
    async with (
        serving(Limits()) as port,
        connection(port, verified()) as (reader, writer),
    ):
        writer.write(REQUEST[:-2] + lines + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_long_selector_fits() -> None:
    """A request line may have 32 KiB, and no more."""
    async with serving(Limits()) as port:
        for length, expected in ((30_000, b"200"), (40_000, b"400")):
            async with connection(port, trusting(AUTHORITY.bundle)) as (reader, writer):
                writer.write(
                    b"GET /?labelSelector=" + b"a" * length + b" HTTP/1.1\r\nHost: x\r\n\r\n"
                )
                assert (await reader.readline()).split()[1] == expected


@on_both_loops
def test_failed_handshakes_leave_nothing_behind(new_loop: LoopFactory) -> None:
    """A peer that fails more often than it may connect is not shut out."""

    async def body() -> None:
        async with serving(Limits(per_peer=2)) as port:
            for _ in range(10):
                async with connection(port) as (reader, writer):
                    writer.write(b"GET / HTTP/1.1\r\n\r\n")
                    await ended(reader)
            assert (await ask(port, trusting(AUTHORITY.bundle))).text == "nobody"

    run(new_loop, body())


@on_both_loops
def test_what_is_under_way_is_finished_at_the_end(new_loop: LoopFactory) -> None:
    """A request that has begun is answered though nobody is let in; the idle are closed."""

    async def body() -> None:
        begun, finish = asyncio.Event(), asyncio.Event()

        async def wait(_: web.BaseRequest) -> web.Response:
            begun.set()
            await finish.wait()
            return web.Response(text="finished")

        tls = trusting(AUTHORITY.bundle)
        async with AsyncExitStack() as outer:
            stack = AsyncExitStack()
            _, port = await stack.enter_async_context(
                listening(LimitedServer(wait), HOST, 0, context())
            )
            await outer.enter_async_context(connection(port))  # in its handshake, for ever
            idle, _ = await outer.enter_async_context(connection(port, tls))
            reader, writer = await outer.enter_async_context(connection(port, tls))
            writer.write(REQUEST)
            await begun.wait()
            closing = asyncio.create_task(stack.aclose())
            await ended(idle)
            with pytest.raises(ConnectionError):
                await asyncio.open_connection(HOST, port)
            assert not closing.done()
            finish.set()
            assert (await ended(reader)).endswith(b"finished")
            await closing

    run(new_loop, body())


@pytest.mark.slow
@on_both_loops
def test_many_requests_at_once(new_loop: LoopFactory) -> None:
    """A thousand connections, each new, are all served."""

    async def body() -> None:
        connector = TCPConnector(ssl=trusting(AUTHORITY.bundle), limit=50, force_close=True)
        async with serving(Limits()) as port, ClientSession(connector=connector) as session:

            async def once() -> int:
                async with session.get(f"https://{HOST}:{port}/") as response:
                    await response.read()
                    return response.status

            assert set(await asyncio.gather(*(once() for _ in range(1000)))) == {200}

    run(new_loop, body())


async def test_an_address_in_use_is_a_configuration_error() -> None:
    """It names the flags, and what is wrong."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"--secure-port {port}: .*in use"):
            async with listening(server(), HOST, port, context()):
                pass


async def test_an_address_of_another_machine_is_a_configuration_error() -> None:
    """It is told, and not raised as it is."""
    with pytest.raises(ConfigurationError, match=r"--bind-address 192\.0\.2\.1"):
        async with listening(server(), "192.0.2.1", 0, context()):
            pass


@pytest.mark.parametrize("unspecified", ["0.0.0.0", "::"])  # noqa: S104 - it is what is tested
@on_both_loops
def test_an_unspecified_address_is_all_there_are(new_loop: LoopFactory, unspecified: str) -> None:
    """As with Kubernetes' servers, of both families; so one manifest serves on any network."""

    async def body() -> None:
        async with listening(server(), unspecified, 0, context()) as (_, port):
            for address in loopback():
                reader, writer = await asyncio.open_connection(
                    address, port, ssl=trusting(AUTHORITY.bundle), server_hostname=HOST
                )
                writer.write(REQUEST)
                assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
                writer.close()
                await writer.wait_closed()

    run(new_loop, body())


def loopback() -> Iterator[str]:
    """The addresses of this host's loopback."""
    for address, family in ((HOST, socket.AF_INET), ("::1", socket.AF_INET6)):
        with suppress(OSError), socket.create_server((address, 0), family=family):
            yield address


async def test_without_ipv6_an_unspecified_address_is_all_of_ipv4(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel without IPv6 is no reason not to serve."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    async with listening(server(), "::", 0, context()) as (address, port):
        assert address == "0.0.0.0"  # noqa: S104 - it is what is tested
        assert (await ask(port, trusting(AUTHORITY.bundle))).text == "nobody"
