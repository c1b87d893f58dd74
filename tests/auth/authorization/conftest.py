"""An authorizer, and the simulated Kubernetes API that it uses."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metrics_server.auth.authorization import Authorizer
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.reviews import Reviews
from tests.support.clock import Clock
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected


@pytest.fixture
def reviews() -> Reviews:
    """Makes the decisions; at first it denies everything."""
    return Reviews({})


@pytest.fixture
async def api(reviews: Reviews) -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API that reviews access."""
    async with KubernetesAPI() as running:
        running.aggregate("authorization.k8s.io", "v1", reviews.subject_access_review)
        yield running


@pytest.fixture
async def client(api: KubernetesAPI, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    """A client of that API."""
    async with connected(write_kubeconfig(tmp_path / "kubeconfig", api.url)) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    """A clock at 0."""
    return Clock()


@pytest.fixture
def authorizer(client: KubernetesClient, clock: Clock) -> Authorizer:
    """The authorizer under test."""
    return Authorizer(client, clock=clock)
