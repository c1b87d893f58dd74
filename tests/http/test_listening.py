"""The addresses that a listener binds, and how it stops."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress

import pytest
from aiohttp import ClientSession, TCPConnector, web

from metrics_server.errors import ConfigurationError
from metrics_server.http.limits import Limits
from metrics_server.http.listener import listening
from metrics_server.http.reply import Reply
from metrics_server.http.server import LimitedServer
from tests.support.listening import AUTHORITY, REQUEST, connection, context, ended, serving
from tests.support.peers import (
    HOST,
    LoopFactory,
    ask,
    on_both_loops,
    run,
    server,
    trusting,
)


@on_both_loops
def test_what_is_under_way_is_finished_at_the_end(new_loop: LoopFactory) -> None:
    """A request that has begun is answered, new ones are rejected, idle connections close."""

    async def body() -> None:
        begun, finish = asyncio.Event(), asyncio.Event()

        async def wait(_: web.BaseRequest) -> Reply:
            begun.set()
            await finish.wait()
            return Reply(b"finished")

        tls = trusting(AUTHORITY.bundle)
        async with AsyncExitStack() as outer:
            stack = AsyncExitStack()
            _, port = await stack.enter_async_context(
                listening(LimitedServer(wait), HOST, 0, context())
            )
            await outer.enter_async_context(connection(port))  # in its handshake, indefinitely
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
    """More new connections than there are places for are all served."""

    async def body() -> None:
        connector = TCPConnector(ssl=trusting(AUTHORITY.bundle), limit=50, force_close=True)
        async with serving(Limits()) as port, ClientSession(connector=connector) as session:

            async def once() -> int:
                async with session.get(f"https://{HOST}:{port}/") as response:
                    await response.read()
                    return response.status

            assert set(await asyncio.gather(*(once() for _ in range(300)))) == {200}

    run(new_loop, body())


async def test_an_address_in_use_is_a_configuration_error() -> None:
    """The error names the flags, and the cause."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"--secure-port {port}: .*in use"):
            async with listening(server(), HOST, port, context()):
                pass


async def test_an_address_of_another_machine_is_a_configuration_error() -> None:
    """It is reported in words, not raised unchanged."""
    with pytest.raises(ConfigurationError, match=r"--bind-address 192\.0\.2\.1"):
        async with listening(server(), "192.0.2.1", 0, context()):
            pass


@pytest.mark.parametrize("unspecified", ["0.0.0.0", "::"])  # noqa: S104 - it is what is tested
@on_both_loops
def test_an_unspecified_address_is_all_there_are(new_loop: LoopFactory, unspecified: str) -> None:
    """As with Kubernetes' servers, both families; so one manifest works on any network."""

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
    """This host's loopback addresses."""
    for address, family in ((HOST, socket.AF_INET), ("::1", socket.AF_INET6)):
        with suppress(OSError), socket.create_server((address, 0), family=family):
            yield address


async def test_without_ipv6_an_unspecified_address_is_all_of_ipv4(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server also works on a kernel without IPv6."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    async with listening(server(), "::", 0, context()) as (address, port):
        assert address == "0.0.0.0"  # noqa: S104 - it is what is tested
        assert (await ask(port, trusting(AUTHORITY.bundle))).text == "nobody"
