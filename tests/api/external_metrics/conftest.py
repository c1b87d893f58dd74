"""A server in a cluster of a few pods, and its client."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.support.clients import Client
from tests.support.exporters import page
from tests.support.external_metrics import UTILIZATION
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod
from tests.support.sharing import shared_client

PODS = {
    "a": {"app": "inference", "tier": "gpu", "rank": "1"},
    "b": {"app": "inference", "tier": "accel", "rank": "2", "canary": ""},
    "c": {"app": "training", "team.example.com/name": "blue-1"},
}


@asynccontextmanager
async def made_cluster() -> AsyncIterator[Cluster]:
    """A cluster of three pods that differ in their labels, and one in another namespace."""
    gpus = {("default", name): [value] for name, value in UTILIZATION.items()}
    pods = [pod(name, labels=labels) for name, labels in PODS.items()]
    async with cluster(
        {"gpu-0": page({**gpus, ("other", "a"): [64]})},
        [*pods, pod("a", namespace="other")],
    ) as made:
        yield made


@pytest.fixture
async def simulated() -> AsyncIterator[Cluster]:
    """Such a cluster for one test, which may change it."""
    async with made_cluster() as made:
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    """A client of one such cluster's server, for the tests of a module that leave it as it was."""
    with shared_client(made_cluster()) as made:
        yield made


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Client:
    """A client of the test's own cluster, if it has one; otherwise of the shared one."""
    if "simulated" in request.fixturenames:
        simulated: Cluster = request.getfixturevalue("simulated")
        return simulated.client
    client: Client = request.getfixturevalue("shared")
    return client
