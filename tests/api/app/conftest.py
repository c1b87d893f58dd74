"""A server in a cluster of one pod, and its client."""

from collections.abc import AsyncIterator

import pytest

from tests.support.clients import Client
from tests.support.exporters import page
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod


@pytest.fixture
async def simulated() -> AsyncIterator[Cluster]:
    """A cluster with one pod, which the recorded selectors match."""
    labels = {"app": "inference", "tier": "gpu"}
    async with cluster(
        {"gpu-0": page({("default", "a"): [84]})}, [pod("a", labels=labels)]
    ) as made:
        yield made


@pytest.fixture
def client(simulated: Cluster) -> Client:
    """What asks the server of that cluster."""
    return simulated.client
