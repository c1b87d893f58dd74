"""The log is not read."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.process import scene
from tests.support.exporters import page
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

# The length of a selector in a log line.
SELECTOR = f"app=inference,x notin ({','.join(f'value-{n}' for n in range(400))})"


async def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """With the pipe full, the server answers as before; and it still stops on a signal."""
    async with scene(tmp_path) as here:
        here.server.reads_log.clear()
        here.exporter.page = page({})
        # Far more than a pipe and its reader hold.
        for number in range(200):
            async with asyncio.timeout(5):
                selector = f"{SELECTOR},y!=n{number}"
                asked = await here.client.metric("default", "gpu_utilization", selector)
            assert asked.error().code == 503
        async with asyncio.timeout(1):
            assert (await here.client.ask("/livez")).text == "ok"
        here.server.process.terminate()

        # Not by wait(), which also waits until the pipe is read.
        async def status() -> int | None:
            return here.server.process.returncode

        assert await eventually(status, lambda code: code is not None, patience=10) == 0
