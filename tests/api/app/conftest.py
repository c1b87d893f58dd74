"""A server in a cluster of one pod, and its client."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.support.clients import Client
from tests.support.exporters import page
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod
from tests.support.sharing import shared_client


@asynccontextmanager
async def made_cluster() -> AsyncIterator[Cluster]:
    """A cluster with one pod, which the recorded selectors match."""
    labels = {"app": "inference", "tier": "gpu"}
    async with cluster(
        {"gpu-0": page({("default", "a"): [84]})}, [pod("a", labels=labels)]
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
