"""A server in a cluster of a few pods, and its client."""

from collections.abc import AsyncIterator

import pytest

from tests.support.clients import Client
from tests.support.exporters import page
from tests.support.external_metrics import UTILIZATION
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod

PODS = {
    "a": {"app": "inference", "tier": "gpu", "rank": "1"},
    "b": {"app": "inference", "tier": "accel", "rank": "2", "canary": ""},
    "c": {"app": "training", "team.example.com/name": "blue-1"},
}


@pytest.fixture
async def simulated() -> AsyncIterator[Cluster]:
    """A cluster of three pods that differ in their labels, and one in another namespace."""
    gpus = {("default", name): [value] for name, value in UTILIZATION.items()}
    pods = [pod(name, labels=labels) for name, labels in PODS.items()]
    async with cluster(
        {"gpu-0": page({**gpus, ("other", "a"): [64]})},
        [*pods, pod("a", namespace="other")],
    ) as made:
        yield made


@pytest.fixture
def client(simulated: Cluster) -> Client:
    """What asks the server of that cluster."""
    return simulated.client
