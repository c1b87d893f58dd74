"""Requests on one connection: bodies, cuts and ends."""

import asyncio

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_server.http.limits import Limits
from metrics_server.http.reply import Reply
from tests.support.connections import hello, serving
from tests.support.listening import AUTHORITY, REQUEST, connection, ended, verified
from tests.support.peers import PATIENCE_SECONDS, LoopFactory, on_both_loops, run, trusting
from tests.support.waiting import eventually


@on_both_loops
def test_a_connection_of_nobody_closes_after_an_answer(new_loop: LoopFactory) -> None:
    """Only a verified caller, or one with a good token, keeps it."""

    async def body() -> None:
        async def token(request: web.BaseRequest) -> Reply:
            good = request.headers.get("Authorization") != "Bearer bad"
            return Reply(b"hello", status=200 if good else 401)

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
    """The client gets the answer instead of a reset, even though no body is used."""

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
    """Discarding is limited, too."""
    async with (
        serving(hello, Limits(body=100_000)) as served,
        connection(served.port, verified()) as (_, writer),
    ):
        writer.write(b"POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 4000000000\r\n\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not served.dropped("body-too-long"):
                writer.write(b"x" * 16384)
                await asyncio.sleep(0.001)


@pytest.mark.slow
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
    """Heads in pieces of any size, and several in one, are each answered, in order."""

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


async def test_a_client_without_tls_learns_nothing() -> None:
    """It is not admitted, and takes no place."""
    async with serving(hello) as served:
        async with connection(served.port) as (reader, writer):
            writer.write(REQUEST)
            await ended(reader)

        async def places() -> int:
            return len(served.server.commons.places)

        await eventually(places, lambda count: count == 0)
