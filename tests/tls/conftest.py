"""A Kubernetes API with the objects from the manifests, and a client of it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import API_SERVICES, CONFIG_MAPS
from tests.support.certificates import api_service, config_map
from tests.support.clock import WallClock
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API with the external metrics APIService, and the ConfigMap."""
    async with KubernetesAPI() as running:
        running.apply(API_SERVICES, api_service())
        running.apply(CONFIG_MAPS, config_map())
        yield running


@pytest.fixture
async def client(api: KubernetesAPI, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    """A client of that API."""
    async with connected(write_kubeconfig(tmp_path / "kubeconfig", api.url)) as made:
        yield made


@pytest.fixture
def wall() -> WallClock:
    """The time of day, set by a test."""
    return WallClock(datetime.now(UTC))
