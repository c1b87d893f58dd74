"""Admission when there are too many connections."""

import asyncio
import socket
from contextlib import AsyncExitStack
from functools import partial

import pytest

from metrics_server.http.limits import Limits
from metrics_server.http.places import Place, Places
from tests.support.connections import hello
from tests.support.connections import serving as serving_hello
from tests.support.listening import AUTHORITY, REQUEST, connection, ended, verified
from tests.support.peers import (
    HOST,
    LoopFactory,
    ask,
    on_both_loops,
    run,
    trusting,
)


@on_both_loops
@pytest.mark.parametrize("limits", [Limits(per_peer=4), Limits(unverified=4)], ids=["peer", "all"])
def test_probes_and_proxies_get_in_however_many_idle_there_are(
    new_loop: LoopFactory, limits: Limits
) -> None:
    """Only the unverified connection that has been idle the longest makes room."""

    async def body() -> None:
        anybody = trusting(AUTHORITY.bundle)
        async with serving_hello(hello, limits) as served, AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(connection(served.port, verified()))
            idle = [
                # Connections that have not started TLS count, too.
                await stack.enter_async_context(connection(served.port, tls))
                for tls in (None, anybody, anybody, None)
            ]
            assert (await ask(served.port, anybody)).text == "hello"
            assert (await ask(served.port, verified())).text == "hello"
            assert await ended(idle[0][0]) == b""
            assert 1 <= served.dropped("idle-longest") <= 2
            for reader, writer in (proxy, idle[2]):
                writer.write(REQUEST)
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    run(new_loop, body())


@pytest.mark.slow
async def test_hundreds_of_idle_connections_shut_nobody_out() -> None:
    """Far more than the limit, from several addresses; kube-apiserver and kubelet are admitted."""
    async with serving_hello(hello) as served, AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        for n in range(600):
            idle = stack.enter_context(socket.socket())
            idle.setblocking(False)  # noqa: FBT003 - it is how sockets have it
            idle.bind((f"127.0.0.{2 + n % 4}", 0))
            await loop.sock_connect(idle, (HOST, served.port))
        for tls in (trusting(AUTHORITY.bundle), verified()):
            assert (await ask(served.port, tls)).text == "hello"
        assert len(served.server.commons.places) <= Limits().unverified


async def test_there_is_an_end_of_verified_ones() -> None:
    """Among verified peers, too, an idle connection makes room for another."""
    async with serving_hello(hello, Limits(verified=2)) as served, AsyncExitStack() as stack:
        opened = []
        for _ in range(3):
            opened.append(await stack.enter_async_context(connection(served.port, verified())))
            reader, writer = opened[-1]
            writer.write(REQUEST)
            await reader.readuntil(b"hello")
        assert await ended(opened[0][0]) == b""
        assert len(served.server.commons.places) == 2


def test_an_address_of_few_connections_keeps_them() -> None:
    """A flood from elsewhere does not displace a slow handshake."""
    gone: list[int] = []
    places = Places(unverified=4, per_peer=3, verified=1)
    for n, peer in enumerate(("proxy", "flood", "other", "flood", "flood", "other", "other")):
        places.enter(peer, partial(gone.append, n))
    assert gone == [1, 3, 2]


def test_idle_connections_go_first() -> None:
    """A busy connection stays as long as there is an idle one."""
    gone: list[str] = []
    places = Places(unverified=2, per_peer=2, verified=1)

    def enter(name: str) -> Place:
        return places.enter("10.0.0.1", lambda: gone.append(name))

    first, second = enter("first"), enter("second")
    first.busy = True
    third = enter("third")
    assert gone == ["second"]
    places.leave(second)
    third.busy = True
    enter("fourth")
    assert gone == ["second", "first"]
    assert len(places) == 2


def test_where_all_verified_are_busy_one_more_is_as_nobody() -> None:
    """It is served, with the limits of an unverified one."""
    places = Places(unverified=2, per_peer=2, verified=1)
    first, second = (places.enter("10.0.0.1", lambda: None) for _ in range(2))
    assert places.verify(first)
    first.busy = True
    assert not places.verify(second)
    assert not second.verified
    places.rest(first)
    assert places.verify(second)


def test_nothing_is_left_of_who_has_left() -> None:
    """However often it is reported."""
    places = Places(unverified=3, per_peer=3, verified=3)
    entered = [places.enter("10.0.0.1", lambda: None) for _ in range(3)]
    places.verify(entered[0])
    for place in entered:
        places.leave(place)
        places.leave(place)
    assert len(places) == 0
    assert not places._per_peer
