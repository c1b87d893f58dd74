"""Request heads: how much of them is read, and from whom."""

from contextlib import AsyncExitStack

import pytest

from metrics_server.http.limits import Limits
from tests.support.connections import hello, serving
from tests.support.listening import AUTHORITY, REQUEST, connection, verified
from tests.support.peers import LoopFactory, on_both_loops, run, trusting
from tests.support.waiting import eventually


@on_both_loops
def test_all_unfinished_heads_share_one_budget(new_loop: LoopFactory) -> None:
    """The connection that holds the most is dropped, one of a verified peer last."""

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
    """Each line costs many times its size, and only front proxies need hundreds."""
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
        # And its memory is released.
        assert served.server.commons.heads.used == 0
