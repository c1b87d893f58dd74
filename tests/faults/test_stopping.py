"""The process gets a signal, or cannot write, while it answers."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.faults.process import scene
from tests.support.peers import HOST, cut, trusting
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

QUESTION = (
    b"GET /apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"
    b"?labelSelector=app%3Dinference HTTP/1.1\r\nHost: here\r\nX-Remote-User: hpa\r\n\r\n"
)


async def test_connections_are_closed_while_it_stops(tmp_path: Path) -> None:
    """In the shutdown delay each answer is its connection's last; another signal ends the delay."""
    delay = ("--shutdown-delay-duration", "10m")
    async with scene(tmp_path, arguments=delay) as here:
        here.server.process.terminate()
        ready = await eventually(
            lambda: here.client.ask("/readyz"), lambda answer: answer.status == 500
        )
        assert "[-]shutdown failed: begun" in ready.text
        assert (await here.ask()).item().value == "10"
        # Nothing in this requests an end: it is read until the server closes it.
        last = await here.client.send(b"GET /apis HTTP/1.1\r\nHost: here\r\n\r\n")
        assert last.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in last
        assert here.server.process.returncode is None
        here.server.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(here.server.process.wait(), 15) == 0
    assert here.server.events("info")[-1] == "stopped"
    assert here.server.events("error") == []


@pytest.mark.parametrize("delay", ["0s", "10m"])
async def test_nothing_that_was_sent_is_lost(tmp_path: Path, delay: str) -> None:
    """Under load, each request that was sent is answered, and the last answer says so."""
    async with scene(tmp_path, arguments=("--shutdown-delay-duration", delay)) as here:
        answered = 0
        context = await asyncio.to_thread(trusting, here.bundle, here.trust.front_proxy())

        async def load() -> bytes:
            """Ask on a persistent connection until an answer says that it is the last."""
            nonlocal answered
            reader, writer = await asyncio.open_connection(HOST, here.client.url.port, ssl=context)
            try:
                while True:
                    writer.write(QUESTION)
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
                    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                    assert b'"value":"10"' in await reader.readexactly(length)
                    answered += 1
                    if b"\r\nConnection: close\r\n" in head:
                        return await reader.read()
            finally:
                cut(writer)

        loads = [asyncio.create_task(load()) for _ in range(20)]

        async def count() -> int:
            return answered

        await eventually(count, lambda number: number > 200)
        if delay == "0s":
            # All of them are waiting for one scrape when the signal arrives.
            here.exporter.may_answer.clear()
            before = here.exporter.scrapes

            async def scrapes() -> int:
                return here.exporter.scrapes

            await eventually(scrapes, lambda number: number > before)
        here.server.process.terminate()
        await here.server.logged("stopping")
        if delay == "0s":
            await eventually(lambda: refuses(here.client.url.port or 0), bool)
            here.exporter.may_answer.set()
        assert set(await asyncio.wait_for(asyncio.gather(*loads), 15)) == {b""}
        if delay == "10m":
            here.server.process.terminate()
        assert await asyncio.wait_for(here.server.process.wait(), 15) == 0
    assert here.server.events("error") == []


async def refuses(port: int) -> bool:
    """Whether connections are refused."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except ConnectionRefusedError:
        return True
    cut(writer)
    return False
