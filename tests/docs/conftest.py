"""The site, built once for all modules that examine it."""

from pathlib import Path

import pytest

from tests.deployments.manifests import ROOT
from tests.support.building import build
from tests.support.once import once


@pytest.fixture(scope="session")
def site() -> Path:
    """The site, built in strict mode."""

    def make(folder: Path) -> None:
        done = build(ROOT, folder)
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in done.stderr

    return once("site", make)
