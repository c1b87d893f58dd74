"""The process is told to end, or can write nothing, while it is asked."""

import asyncio
import signal
from pathlib import Path

from tests.faults.process import scene
from tests.support.harness import eventually


async def test_connections_are_closed_while_it_stops(tmp_path: Path) -> None:
    """In the shutdown delay each answer is a connection's last; another signal ends the delay."""
    delay = ("--shutdown-delay-duration", "10m")
    async with scene(tmp_path, arguments=delay) as here:
        here.server.process.terminate()
        ready = await eventually(
            lambda: here.client.ask("/readyz"), lambda answer: answer.status == 500
        )
        assert "[-]shutdown failed: begun" in ready.text
        assert (await here.ask()).item().value == "10"
        # Nothing in this asks for an end: it is read until the server ends it.
        last = await here.client.send(b"GET /apis HTTP/1.1\r\nHost: here\r\n\r\n")
        assert last.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in last
        assert here.server.process.returncode is None
        here.server.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(here.server.process.wait(), 15) == 0
    assert here.server.events("info")[-1] == "stopped"
    assert here.server.events("error") == []
