"""Clusters for tests to share or to own; each folder has its `make_cluster`."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.clients import Client
from tests.support.harness import Cluster
from tests.support.sharing import MakeCluster, shared_client


@pytest.fixture
async def simulated(make_cluster: MakeCluster) -> AsyncIterator[Cluster]:
    """A cluster for a single test, which may change it."""
    async with make_cluster() as made:
        yield made


@pytest.fixture(scope="module")
def shared(make_cluster: MakeCluster) -> Iterator[Client]:
    """A client of one cluster's server, for the tests of a module that do not change it."""
    with shared_client(make_cluster()) as made:
        yield made


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Client:
    """A client of the test's own cluster if it has one, else of the shared one."""
    if "simulated" in request.fixturenames:
        simulated: Cluster = request.getfixturevalue("simulated")
        return simulated.client
    client: Client = request.getfixturevalue("shared")
    return client
