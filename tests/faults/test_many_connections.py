"""Thousands of silent connections, and hundreds that never finish a request."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from metrics_server.http.limits import DEFAULT
from metrics_server.http.sockets import allow_open_files
from tests.faults.process import Scene, scene
from tests.support.clients import Client
from tests.support.peers import HOST, cut, trusting
from tests.support.waiting import Deadline, eventually

MEMORY_LIMIT = 640 * 1024 * 1024  # from the manifest
QUESTION = (
    "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"
    "?labelSelector=app%3Dinference"
)
IDLE = 2000
DEADLINE = 2
SHORT_DEADLINES = (
    "from metrics_server.http.limits import Limits\n"
    "from metrics_server.http.server import LimitedServer\n"
    "LimitedServer.__init__.__defaults__ = "
    f"(Limits(head={DEADLINE}, handshake={DEADLINE}),)\n"
)
CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(500)


async def plain(port: int, number: int) -> socket.socket:
    """A connection from one of several addresses."""
    connection = socket.socket()
    connection.setblocking(False)  # noqa: FBT003 - it is how sockets have it
    connection.bind((f"127.0.0.{2 + number % 16}", 0))
    await asyncio.get_running_loop().sock_connect(connection, (HOST, port))
    return connection


@asynccontextmanager
async def unharmed(here: Scene) -> AsyncIterator[Callable[[], int]]:
    """Keep asking during the context: each answer must come at once."""
    loop = asyncio.get_running_loop()
    rounds = 0
    longest = 0.0
    asked = loop.time()
    deadline = Deadline()

    async def probe(proxy: Client) -> None:
        nonlocal rounds, longest, asked
        while True:
            asked = loop.time()
            assert (await here.client.ask("/livez")).text == "ok"
            longest, asked = max(longest, loop.time() - asked), loop.time()
            answer = await proxy.ask(QUESTION, {"X-Remote-User": "hpa"})
            assert answer.item().value == "10"
            longest = max(longest, loop.time() - asked)
            rounds += 1

    async with here.as_front_proxy() as proxy:
        probing = asyncio.create_task(probe(proxy))
        try:
            yield lambda: rounds
        finally:
            failed = probing.done()
            # The last question may have no answer yet.
            longest = max(longest, loop.time() - asked)
            probing.cancel()
            with suppress(asyncio.CancelledError):
                await probing
            assert not failed
    allowed = deadline.seconds()
    assert longest < allowed
    assert here.server.process.returncode is None
    assert here.server.peak < MEMORY_LIMIT


async def descriptors_are_back(here: Scene, before: int) -> None:
    """No connection is left."""

    async def count() -> int:
        return here.server.descriptors

    await eventually(count, lambda now: now <= before + 2)


@pytest.mark.slow
async def test_thousands_that_are_idle(tmp_path: Path) -> None:
    """Most never start TLS, some are idle after it; kube-apiserver and kubelet notice nothing."""
    allow_open_files()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < IDLE + 500:
        pytest.skip(f"{IDLE} connections need more open files than the hard limit allows")
    async with scene(tmp_path) as here:
        assert await here.value() == "10"
        port = here.client.url.port or 0
        before = here.server.descriptors
        tls = trusting(here.bundle)
        async with AsyncExitStack() as stack:
            rounds = await stack.enter_async_context(unharmed(here))
            for number in range(IDLE - 100):
                stack.enter_context(await plain(port, number))
            for number in range(100):
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(
                        sock=await plain(port, number), ssl=tls, server_hostname=HOST
                    )
                    stack.callback(cut, writer)
            began = rounds()

            async def more() -> int:
                return rounds()

            await eventually(more, lambda now: now >= began + 10)
            # The ones requested meanwhile, and the server's own, are a few more.
            assert here.server.descriptors < before + DEFAULT.unverified + 50
        await descriptors_are_back(here, before)
        assert len(here.server.log) < 200


@pytest.mark.slow
@pytest.mark.parametrize("handshaken", [False, True], ids=["before TLS", "after TLS"])
async def test_hundreds_that_drip(tmp_path: Path, *, handshaken: bool) -> None:
    """Each is cut at its deadline, and nobody waits."""
    async with scene(tmp_path, preamble=SHORT_DEADLINES) as here:
        assert await here.value() == "10"
        port = here.client.url.port or 0
        before = here.server.descriptors
        tls = trusting(here.bundle) if handshaken else None
        loop = asyncio.get_running_loop()

        async def drip(number: int) -> float:
            """How long it took until the connection was cut."""
            connection = await plain(port, number)
            began = loop.time()
            writer: asyncio.StreamWriter | None = None
            try:
                async with asyncio.timeout(15):
                    reader, writer = await asyncio.open_connection(
                        sock=connection, ssl=tls, server_hostname=HOST if tls else None
                    )
                    began = loop.time()
                    head = b"GET /livez HTTP/1.1\r\nX-Long: " + b"x" * 500
                    ended = asyncio.create_task(reader.read())
                    for byte in head if handshaken else CLIENT_HELLO:
                        writer.write(bytes([byte]))
                        await asyncio.wait([ended], timeout=0.2)
                        if ended.done():
                            break
                    with suppress(OSError):
                        await ended
            except OSError:
                pass
            finally:
                if writer is not None:
                    cut(writer)
                connection.close()
            return loop.time() - began

        async with unharmed(here) as rounds:
            took = await asyncio.gather(*(drip(number) for number in range(200)))
            assert max(took) < DEADLINE + 4
            # The number depends on the machine; `unharmed` checks the time of each.
            assert rounds()
        await descriptors_are_back(here, before)
        assert len(here.server.log) < 200
        assert here.server.events("error") == []
