"""A server in a cluster of a few pods, and its client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.exporters import page
from tests.support.external_metrics import UTILIZATION
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod
from tests.support.sharing import MakeCluster

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


@pytest.fixture(scope="session")
def make_cluster() -> MakeCluster:
    """Return `made_cluster`."""
    return made_cluster
