"""A cluster to break."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doctor import scene as scenes
from tests.doctor.running import Run, runner


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[scenes.Scene]:
    """A cluster in which everything works."""
    async with scenes.scene(tmp_path) as made:
        yield made


@pytest.fixture
def run(scene: scenes.Scene, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command against the cluster."""
    return runner(scene, capsys)
