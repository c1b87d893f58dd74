"""Short demos, and their output."""

import asyncio
from pathlib import Path

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.simulator.demo.options import DemoOptions, Tempo
from metrics_server.simulator.demo.run import demo

QUICK = Tempo(
    sync=0.1,
    stabilization=0.2,
    loading=0.06,
    deleting=0.03,
    period=1,
    max_age=0.01,
    # Long, so that no exporter is too slow on a busy machine.
    timeout=5,
    last_known=0.3,
)
# Still long enough for a healthy exporter on a busy machine.
IMPATIENT = structs.replace(QUICK, timeout=1)


async def shown(
    capsys: pytest.CaptureFixture[str], options: DemoOptions, tempo: Tempo = QUICK
) -> str:
    """The output of a demo."""
    with capture_logs():
        async with asyncio.timeout(20):
            await demo(options, tempo)
    return capsys.readouterr().out


def kubeconfigs(temporary: Path) -> list[Path]:
    """The folders that the demo created and did not remove.

    (The official client removes its own copies of certificates when the process ends.)
    """
    return list(temporary.glob("gpu-metrics-demo-*"))
