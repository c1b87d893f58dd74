"""Clients that read slowly, never, or have disconnected."""

import asyncio
import socket
from typing import cast

import pytest
from aiohttp import web

from metrics_server.http.limits import Limits
from metrics_server.http.reply import Reply
from tests.http.test_time_limits import BRIEF_SECONDS
from tests.support.connections import BOUND, MUCH, serving
from tests.support.listening import REQUEST, connection, ended, verified
from tests.support.peers import PATIENCE_SECONDS, LoopFactory, on_both_loops, run


@pytest.mark.slow
@on_both_loops
@pytest.mark.parametrize("size", [MUCH, 100_000, 30_000])
def test_a_client_that_never_reads_is_dropped(new_loop: LoopFactory, size: int) -> None:
    """Its next requests are not started, little is buffered for it, and it is soon gone."""

    async def body() -> None:
        begun = 0

        async def long(_: web.BaseRequest) -> Reply:
            nonlocal begun
            begun += 1
            return Reply(b"x" * size)

        limits = Limits(taking=BRIEF_SECONDS * 2)
        async with serving(long, limits) as served, connection(served.port, verified()) as opened:
            reader, writer = opened
            wire = cast("asyncio.Transport", writer.transport)
            wire.pause_reading()
            # What the client's own side has buffered does not count.
            ours: socket.socket = writer.get_extra_info("socket")
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            writer.write(REQUEST * 1000)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not served.dropped("answer-not-taken"):
                    assert served.server.commons.answers.used < BOUND
                    await asyncio.sleep(0.01)
            assert begun == 1 or begun * size < 700_000
            assert served.server.commons.answers.used == 0
            wire.resume_reading()
            await ended(reader)

    run(new_loop, body())


@pytest.mark.slow
@on_both_loops
def test_a_long_answer_reaches_a_slow_reader(new_loop: LoopFactory) -> None:
    """One that reads in small pieces gets all of it, if it keeps reading."""

    async def body() -> None:
        async def long(_: web.BaseRequest) -> Reply:
            return Reply(b"x" * MUCH, "text/plain")

        async with (
            serving(long, Limits(taking=1)) as served,
            connection(served.port, verified()) as (reader, writer),
        ):
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Content-Length: %d\r\n" % MUCH in head
            assert b"Content-Type: text/plain" in head
            got = 0
            while got < MUCH:
                got += len(await reader.read(65536))
                await asyncio.sleep(0.005)
            writer.write(REQUEST)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    run(new_loop, body())


@on_both_loops
def test_a_client_that_has_gone_away_ends_its_request(new_loop: LoopFactory) -> None:
    """No one is waiting for the answer."""

    async def body() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def wait(_: web.BaseRequest) -> Reply:
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
