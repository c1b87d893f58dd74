"""A cluster for each test, if the programs for one are installed."""

import os
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import PROGRAMS, control_plane
from tests.cluster.nodes import nodes

# Set by `make cluster`.
_VARIABLE = "CONTROL_PLANE"


@pytest.fixture
def programs() -> Path:
    """The folder with a control plane's programs."""
    folder = os.environ.get(_VARIABLE)
    if not folder:
        pytest.skip(f"it takes a real control plane: make cluster {_VARIABLE}=FOLDER")
    missing = [name for name in PROGRAMS if shutil.which(name, path=folder) is None]
    assert not missing, f"{_VARIABLE}={folder} has no {', '.join(missing)}"
    interfaces = [name for _, name in socket.if_nameindex()]
    assert interfaces == ["lo"], "it takes a network of its own, which `make cluster` makes"
    return Path(folder)


@pytest.fixture
def feature_gates() -> Sequence[str]:
    """The control plane's feature gates: a module that needs some overrides this fixture."""
    return ()


@pytest.fixture
async def cluster(
    request: pytest.FixtureRequest, programs: Path, tmp_path: Path, feature_gates: Sequence[str]
) -> AsyncIterator[Cluster]:
    """A cluster that runs Kubernetes' own programs.

    It has two nodes with eight GPUs each and two without, or those of the test's parameter.
    """
    gpus = getattr(request, "param", {"gpu-0": 8, "gpu-1": 8, "cpu-0": 0, "cpu-1": 0})
    async with (
        control_plane(programs, tmp_path, feature_gates) as plane,
        nodes(plane, tmp_path / "pods", gpus) as made,
    ):
        yield Cluster(plane, made)
