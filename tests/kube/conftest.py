"""A Kubernetes API on loopback, a client of it, and what a real one answered."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.pod_stores import PodStore
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import Object
from tests.support.data import KUBE_API
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected
from tests.support.reflecting import Naps

Recording = Callable[[str], Object]


@pytest.fixture(scope="session")
def recording() -> Recording:
    """What a real API server answered, by the name of the recording."""
    recordings = {path.stem: json.loads(path.read_bytes()) for path in KUBE_API.glob("*.json")}
    return lambda name: recordings[name]


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API that sends bookmarks often."""
    async with KubernetesAPI(bookmark_seconds=0.05) as running:
        yield running


@pytest.fixture
async def client(api: KubernetesAPI, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    """A client of that API."""
    async with connected(write_kubeconfig(tmp_path / "kubeconfig", api.url)) as made:
        yield made


@pytest.fixture
def store() -> PodStore:
    """The store that is kept up to date."""
    return PodStore()


@pytest.fixture
def naps() -> Naps:
    """What the reflector sleeps with."""
    return Naps()
