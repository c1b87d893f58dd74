"""A cluster with a ConfigMap for delegated authentication."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from tests.support.kubernetes import kubernetes


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[KubernetesAPI, KubernetesClient]]:
    """A Kubernetes API without the ConfigMap, and a client of it."""
    async with kubernetes(tmp_path) as made:
        yield made
