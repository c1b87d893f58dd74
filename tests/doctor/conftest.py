"""A cluster to break."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from metrics_server.telemetry import logs
from tests.doctor import scene as scenes
from tests.doctor.running import Run, runner


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[scenes.Scene]:
    """A cluster in which everything works."""
    async with scenes.scene(tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Logging is global to the process, and the commands change it: restore it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # The scene's server logs in the same process, and would write between a command's lines.
    logs.configure("error", "text")
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def run(scene: scenes.Scene, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command against the cluster."""
    return runner(scene, capsys)
