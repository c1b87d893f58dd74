"""A Kubernetes API on loopback, its client, and a real API's recorded answers."""

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
    """A real API server's answer, by the recording's name."""
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
    """The reflector's sleep."""
    return Naps()
