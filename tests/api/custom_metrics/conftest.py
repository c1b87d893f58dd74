"""A server in a cluster with one workload, and its client."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.support.clients import Client
from tests.support.custom_metrics import UTILIZATION, WEB
from tests.support.exporters import page
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod
from tests.support.sharing import shared_client


@asynccontextmanager
async def made_cluster() -> AsyncIterator[Cluster]:
    """Two Ready pods of one app, one without a sample, and others that must not count."""
    pods = [
        pod("web-1", labels={**WEB, "tier": "a"}),
        pod("web-2", labels={**WEB, "tier": "b"}, gpus=2),
        pod("web-3", labels={**WEB, "tier": "b"}),
        pod("web-draining", labels=WEB, deleted=True),
        pod("web-loading", labels=WEB, ready=False),
        pod("web-pending", labels=WEB, phase="Pending", ready=False),
        pod("web-cpu", labels=WEB, gpus=0),
        pod("batch-1", labels={"app": "batch"}),
        pod("web-1", labels=WEB, namespace="other"),
    ]
    async with cluster({"gpu-0": page(UTILIZATION)}, pods) as made:
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
