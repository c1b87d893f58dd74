"""A closed connection's memory is freed without the garbage collector.

It seldom runs, and a flood of connections would fill the memory meanwhile.
"""

import asyncio
import gc
from collections.abc import Iterator

import pytest
import uvloop

from metrics_server.api.app import ApiRequestHandler
from metrics_server.tls.openssl import ServerTls
from tests.support.exporters import page
from tests.support.harness import client_of, cluster
from tests.support.objects import pod
from tests.support.peers import HOST, run, trusting
from tests.support.waiting import eventually

CONNECTIONS = 20
HEAD = b"GET /livez HTTP/1.1\r\nHost: here\r\n"


@pytest.fixture
def uncollected() -> Iterator[None]:
    """The garbage collector is off."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.slow
@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEAD + b"X: " + b"x" * 20_000, id="an unfinished head"),
        pytest.param(HEAD + b"X: " + b"x" * 60_000, id="a line that is too long"),
        pytest.param(b"nonsense\r\n\r\n", id="not HTTP"),
        pytest.param(HEAD + b"\r\n", id="a request"),
        # aiohttp's own task keeps the handler, but not the TLS memory.
        pytest.param(HEAD.replace(b"GET", b"POST") + b"Content-Length: 9\r\n\r\n", id="a body"),
    ],
)
def test_a_closed_connection_takes_nothing(sent: bytes) -> None:
    """Neither its handler, with the client's data, nor its TLS buffers."""

    async def body() -> None:
        async with cluster({"gpu-0": page({("default", "a"): [40]})}, [pod("a")]) as simulated:
            server = simulated.server
            assert server.bundle is not None
            context = trusting(server.bundle)
            async with client_of(server) as client:
                port = client.url.port
                kinds = (ServerTls,) if b"POST" in sent else (ServerTls, ApiRequestHandler)
                before = left(kinds)
                for _ in range(CONNECTIONS):
                    reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
                    writer.write(sent)
                    await writer.drain()
                    if sent.endswith(b"\r\n\r\n"):
                        await reader.readuntil(b"\r\n\r\n")
                    writer.transport.abort()

                async def now() -> int:
                    return left(kinds)

                await eventually(now, lambda count: count <= before)

    run(uvloop.new_event_loop, body())


def left(kinds: tuple[type, ...]) -> int:
    """The number of objects of these kinds in memory."""
    return sum(isinstance(one, kinds) for one in gc.get_objects())
