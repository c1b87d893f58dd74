"""Connections that are silent or slow are dropped."""

import asyncio

import pytest
from aiohttp import web

from metrics_server.http.limits import Limits
from metrics_server.http.listener import listening
from metrics_server.http.reply import Reply
from metrics_server.http.server import LimitedServer
from tests.support.listening import (
    AUTHORITY,
    REQUEST,
    connection,
    context,
    ended,
    serving,
    verified,
)
from tests.support.peers import (
    HOST,
    LoopFactory,
    ask,
    on_both_loops,
    run,
    trusting,
)

BRIEF_SECONDS = 0.2


@on_both_loops
def test_a_handshake_that_never_comes_is_dropped(new_loop: LoopFactory) -> None:
    """A client that sends nothing keeps a connection for a short time only."""

    async def body() -> None:
        async with (
            serving(Limits(handshake=BRIEF_SECONDS)) as port,
            connection(port) as (reader, _),
        ):
            assert await ended(reader) == b""

    run(new_loop, body())


@on_both_loops
def test_a_client_that_is_silent_after_the_handshake_is_dropped(new_loop: LoopFactory) -> None:
    """The first request is due soon, though there is much time between requests."""

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
    """A head that arrives byte by byte has no more time than one that never arrives."""

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
            # It is a complete request, which would be answered without the limit.
            assert await ended(reader) == b""
            trickling.cancel()
            await asyncio.wait([trickling])

    run(new_loop, body())


@on_both_loops
def test_a_second_slow_head_is_dropped(new_loop: LoopFactory) -> None:
    """After an answer, too, the time for a head is limited once it has begun."""

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
    """The head's limit does not apply before a request has begun; the idle limit does."""

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
    """A request that is being answered may take as long as it needs."""

    async def slow(_: web.BaseRequest) -> Reply:
        await asyncio.sleep(BRIEF_SECONDS * 2)
        return Reply(b"slowly")

    limits = Limits(head=BRIEF_SECONDS)
    tls = trusting(AUTHORITY.bundle)
    async with listening(LimitedServer(slow, limits=limits), HOST, 0, context()) as (
        _,
        port,
    ):
        assert (await ask(port, tls)).text == "slowly"
