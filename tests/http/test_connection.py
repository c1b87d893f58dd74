"""What one client can cost: what it sends, what it does not read, and what it gives up."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from metrics_server.http.limits import Limits
from metrics_server.http.listener import listening
from metrics_server.http.server import Handler, LimitedServer
from metrics_server.telemetry.metrics import Monitor
from tests.http.test_limits import (
    AUTHORITY,
    BRIEF_SECONDS,
    REQUEST,
    connection,
    context,
    ended,
    verified,
)
from tests.support.harness import eventually
from tests.support.peers import (
    HOST,
    PATIENCE_SECONDS,
    LoopFactory,
    on_both_loops,
    run,
    trusting,
)

# More than the buffers of both kernels and of TLS take, and less than a test notices.
_MUCH = 4 * 1024 * 1024
_BOUND = 1024 * 1024


class Served:
    """A server, and what it counted."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self.registry = CollectorRegistry()
        self.server = LimitedServer(handler, limits, monitor=Monitor(self.registry))
        self.port = 0

    def dropped_for(self, reason: str) -> Callable[[], Awaitable[float]]:
        """A function that tells how many connections were dropped for a reason."""

        async def ask() -> float:
            return self.dropped(reason)

        return ask

    def dropped(self, reason: str) -> float:
        """How many connections were dropped for a reason."""
        name = "gpu_metrics_server_connections_dropped_total"
        return self.registry.get_sample_value(name, {"reason": reason}) or 0


@asynccontextmanager
async def serving(handler: Handler, limits: Limits | None = None) -> AsyncIterator[Served]:
    """A server for as long as the context."""
    served = Served(handler, limits or Limits())
    async with listening(served.server, HOST, 0, context()) as (_, served.port):
        yield served


async def hello(_: web.BaseRequest) -> web.Response:
    """A short answer."""
    return web.Response(text="hello")


async def accepted(writer: asyncio.StreamWriter, data: bytes) -> int:
    """How many bytes a server takes before it stops reading for a while."""
    for sent in range(0, len(data), 16384):
        writer.write(data[sent : sent + 16384])
        try:
            await asyncio.wait_for(writer.drain(), BRIEF_SECONDS * 2)
        except (TimeoutError, ConnectionError):
            return sent
    return len(data)


@on_both_loops
@pytest.mark.parametrize(
    "more",
    [
        REQUEST[:-2] + b"".join(b"X-%d: " % n + b"y" * 8000 + b"\r\n" for n in range(500)),
        REQUEST * (_MUCH // len(REQUEST)),
    ],
    ids=["a head without end", "pipelined requests"],
)
def test_nothing_more_is_read_while_a_request_is_answered(
    new_loop: LoopFactory, more: bytes
) -> None:
    """What a client sends on meanwhile stays in its own kernel, but for one bounded buffer."""

    async def body() -> None:
        begun, finish = asyncio.Event(), asyncio.Event()

        async def wait(_: web.BaseRequest) -> web.Response:
            begun.set()
            await finish.wait()
            return web.Response(text="finished")

        async with serving(wait) as served, connection(served.port, verified()) as (_, writer):
            writer.write(REQUEST)
            await begun.wait()
            # Of what the client's own side buffers, nothing was read.
            writer.transport.set_write_buffer_limits(high=1, low=0)
            ours: socket.socket = writer.get_extra_info("socket")
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            assert 0 < await accepted(writer, more) < _BOUND
            assert served.server.commons.heads.used < _BOUND
            finish.set()

    run(new_loop, body())


@on_both_loops
def test_all_unfinished_heads_share_one_budget(new_loop: LoopFactory) -> None:
    """The connection that holds the most is dropped, and one of a verified peer last."""

    async def body() -> None:
        limits = Limits(heads=300_000)
        anybody = trusting(AUTHORITY.bundle)
        async with serving(hello, limits) as served, AsyncExitStack() as stack:
            head = REQUEST[:-2] + b"X: " + b"y" * 30_000
            heads = served.server.commons.heads
            opened = [await stack.enter_async_context(connection(served.port, verified()))]
            opened[0][1].write(head)
            for _ in range(20):
                opened.append(await stack.enter_async_context(connection(served.port, anybody)))
                opened[-1][1].write(head)
            await eventually(
                served.dropped_for("too-much-held"), lambda count: count >= len(opened) - 10
            )
            assert heads.used <= limits.heads
            reader, writer = opened[0]
            writer.write(b"\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    run(new_loop, body())


@pytest.mark.parametrize(("lines", "code"), [(40, b"200"), (100, b"400")])
async def test_who_is_not_verified_may_send_few_lines(lines: int, code: bytes) -> None:
    """Each line costs many times its bytes, and nobody but a front proxy needs hundreds."""
    async with (
        serving(hello) as served,
        connection(served.port, trusting(AUTHORITY.bundle)) as (reader, writer),
    ):
        writer.write(REQUEST[:-2] + b"X: y\r\n" * lines + b"\r\n")
        assert (await reader.readline()).split()[1] == code


async def test_a_verified_peer_may_send_90_kb_of_groups() -> None:
    """Go's servers take up to 1 MiB of head."""
    lines = b"".join(b"X-Remote-Group: %090d\r\n" % n for n in range(1000))
    async with (
        serving(hello) as served,
        connection(served.port, verified()) as (reader, writer),
    ):
        writer.write(REQUEST[:-2] + lines + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b"hello")
        # And the memory of it is given back.
        assert served.server.commons.heads.used == 0


@pytest.mark.slow
@on_both_loops
@pytest.mark.parametrize("size", [_MUCH, 100_000, 30_000])
def test_a_client_that_never_reads_is_dropped(new_loop: LoopFactory, size: int) -> None:
    """Its next requests are not even begun, little waits for it, and soon it is gone."""

    async def body() -> None:
        begun = 0

        async def long(_: web.BaseRequest) -> web.Response:
            nonlocal begun
            begun += 1
            return web.Response(body=b"x" * size)

        limits = Limits(taking=BRIEF_SECONDS * 2)
        async with serving(long, limits) as served, connection(served.port, verified()) as opened:
            reader, writer = opened
            wire = cast("asyncio.Transport", writer.transport)
            wire.pause_reading()
            # Of what the client's own side buffers, nothing is the server's.
            ours: socket.socket = writer.get_extra_info("socket")
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            writer.write(REQUEST * 1000)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not served.dropped("answer-not-taken"):
                    assert served.server.commons.answers.used < _BOUND
                    await asyncio.sleep(0.01)
            assert begun == 1 or begun * size < 700_000
            assert served.server.commons.answers.used == 0
            wire.resume_reading()
            await ended(reader)

    run(new_loop, body())


@pytest.mark.slow
@on_both_loops
def test_a_long_answer_reaches_a_slow_reader(new_loop: LoopFactory) -> None:
    """One that reads little by little gets all of it, if it goes on reading."""

    async def body() -> None:
        async def long(_: web.BaseRequest) -> web.Response:
            return web.Response(body=b"x" * _MUCH, content_type="text/plain")

        async with (
            serving(long, Limits(taking=1)) as served,
            connection(served.port, verified()) as (reader, writer),
        ):
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Content-Length: %d\r\n" % _MUCH in head
            assert b"Content-Type: text/plain" in head
            got = 0
            while got < _MUCH:
                got += len(await reader.read(65536))
                await asyncio.sleep(0.005)
            writer.write(REQUEST)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    run(new_loop, body())


@on_both_loops
def test_a_client_that_has_gone_away_ends_its_request(new_loop: LoopFactory) -> None:
    """Nobody is waiting for the answer."""

    async def body() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def wait(_: web.BaseRequest) -> web.Response:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError

        async with serving(wait) as served:
            async with connection(served.port, verified()) as (_, writer):
                writer.write(REQUEST)
                await begun.wait()
            await asyncio.wait_for(cancelled.wait(), PATIENCE_SECONDS)

    run(new_loop, body())


@on_both_loops
def test_a_connection_of_nobody_closes_after_an_answer(new_loop: LoopFactory) -> None:
    """Only who is verified, or brings a token that is good, keeps one."""

    async def body() -> None:
        async def token(request: web.BaseRequest) -> web.Response:
            good = request.headers.get("Authorization") != "Bearer bad"
            return web.Response(status=200 if good else 401, text="hello")

        anybody = trusting(AUTHORITY.bundle)
        async with serving(token) as served:
            for tls, header, stays in (
                (anybody, b"", False),
                (anybody, b"Authorization: Basic eDp5\r\n", False),
                (anybody, b"Authorization: Bearer bad\r\n", False),
                (anybody, b"Authorization: Bearer good\r\n", True),
                (verified(), b"", True),
            ):
                async with connection(served.port, tls) as (reader, writer):
                    writer.write(REQUEST[:-2] + header + b"\r\n")
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert (b"Connection: close" not in head) is stays
                    await reader.readuntil(b"hello")
                    if stays:
                        writer.write(REQUEST)
                        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                    else:
                        assert await ended(reader) == b""

    run(new_loop, body())


@on_both_loops
@pytest.mark.parametrize("length", [10, 300_000])
def test_a_body_is_discarded(new_loop: LoopFactory, length: int) -> None:
    """The client sees the answer, and not a reset, though nothing here reads a body."""

    async def body() -> None:
        for tls in (verified(), trusting(AUTHORITY.bundle)):
            async with serving(hello) as served, connection(served.port, tls) as (reader, writer):
                writer.write(
                    b"POST / HTTP/1.1\r\nHost: server\r\nContent-Length: %d\r\n\r\n" % length
                    + b"\r\n\r\n" * (length // 4)
                    + b"x" * (length % 4)
                )
                await writer.drain()
                answer = await ended(reader)
                assert answer.startswith(b"HTTP/1.1 200")
                assert answer.endswith(b"hello")

    run(new_loop, body())


async def test_a_body_without_end_is_not_read_for_ever() -> None:
    """What is discarded has a bound, too."""
    async with (
        serving(hello, Limits(body=100_000)) as served,
        connection(served.port, verified()) as (_, writer),
    ):
        writer.write(b"POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 4000000000\r\n\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not served.dropped("body-too-long"):
                writer.write(b"x" * 16384)
                await asyncio.sleep(0.001)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                REQUEST,
                b"\r\n" + REQUEST,
                REQUEST[:-2] + b"X: y\r\n\r\n",
                REQUEST[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            ]
        ),
        min_size=1,
        max_size=40,
    ),
    st.lists(st.integers(1, 60), min_size=1, max_size=20),
)
def test_every_request_is_answered_however_it_is_cut(
    requests: list[bytes], cuts: list[int]
) -> None:
    """Heads in pieces of any size, and several in one: each gets its answer, in order."""

    async def body() -> None:
        async with serving(hello) as served, connection(served.port, verified()) as opened:
            reader, writer = opened
            data = b"".join(requests)
            sent = 0
            while sent < len(data):
                for size in cuts:
                    writer.write(data[sent : sent + size])
                    sent += size
                    await asyncio.sleep(0)
            for _ in requests:
                assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")

    run(asyncio.new_event_loop, body())


async def test_a_client_without_tls_is_told_nothing() -> None:
    """It is not let in, and does not hold a place."""
    async with serving(hello) as served:
        async with connection(served.port) as (reader, writer):
            writer.write(REQUEST)
            await ended(reader)

        async def places() -> int:
            return len(served.server.commons.places)

        await eventually(places, lambda count: count == 0)
