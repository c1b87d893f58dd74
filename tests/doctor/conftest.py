"""A cluster to break."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doctor import scene as scenes


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[scenes.Scene]:
    """A cluster in which everything works."""
    async with scenes.scene(tmp_path) as made:
        yield made
