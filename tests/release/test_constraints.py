"""What `make` installs is available for every Python that the project supports."""

import tomllib
from importlib.metadata import metadata

from packaging.specifiers import SpecifierSet

from tests.deployments.manifests import ROOT

PINNED = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_it_supports_the_oldest_python() -> None:
    """Debian's Python is an early release: otherwise pip would find no pinned version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    for name in (line.partition("==")[0] for line in PINNED):
        needed = metadata(name).json.get("requires_python", "")
        assert f"{oldest}.0" in SpecifierSet(str(needed)), name
