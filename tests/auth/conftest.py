"""A cluster with a ConfigMap for delegated authentication."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from tests.support.kubernetes import kubernetes


@pytest.fixture(autouse=True)
def quick_retries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed reviews are retried soon; `test_reviewing.py` tests the pauses."""
    if request.path.name != "test_reviewing.py":
        monkeypatch.setattr("metrics_server.auth.reviewing._BACKOFF_SECONDS", 0.01)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[tuple[KubernetesAPI, KubernetesClient]]:
    """A Kubernetes API without the ConfigMap, and a client of it."""
    async with kubernetes(tmp_path) as made:
        yield made
