"""Connections of peers that read or send slowly."""

import asyncio
import socket

import pytest
from aiohttp import web

from metrics_server.http.reply import Reply
from tests.http.test_time_limits import BRIEF_SECONDS
from tests.support.connections import BOUND, MUCH, serving
from tests.support.listening import REQUEST, connection, verified
from tests.support.peers import LoopFactory, on_both_loops, run


async def accepted(writer: asyncio.StreamWriter, data: bytes) -> int:
    """How many bytes a server accepts before it stops reading for a while."""
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
        REQUEST * (MUCH // len(REQUEST)),
    ],
    ids=["a head without end", "pipelined requests"],
)
def test_nothing_more_is_read_while_a_request_is_answered(
    new_loop: LoopFactory, more: bytes
) -> None:
    """What a client sends meanwhile stays in its kernel, except for one bounded buffer."""

    async def body() -> None:
        begun, finish = asyncio.Event(), asyncio.Event()

        async def wait(_: web.BaseRequest) -> Reply:
            begun.set()
            await finish.wait()
            return Reply(b"finished")

        async with serving(wait) as served, connection(served.port, verified()) as (_, writer):
            writer.write(REQUEST)
            await begun.wait()
            # What the client's own side has buffered was not read.
            writer.transport.set_write_buffer_limits(high=1, low=0)
            ours: socket.socket = writer.get_extra_info("socket")
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            assert 0 < await accepted(writer, more) < BOUND
            assert served.server.commons.heads.used < BOUND
            finish.set()

    run(new_loop, body())
