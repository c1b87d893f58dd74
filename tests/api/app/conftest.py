"""A server in a cluster of one pod, and its client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.exporters import page
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod
from tests.support.sharing import MakeCluster


@asynccontextmanager
async def made_cluster() -> AsyncIterator[Cluster]:
    """A cluster with one pod, which the recorded selectors match."""
    labels = {"app": "inference", "tier": "gpu"}
    async with cluster(
        {"gpu-0": page({("default", "a"): [84]})}, [pod("a", labels=labels)]
    ) as made:
        yield made


@pytest.fixture(scope="session")
def make_cluster() -> MakeCluster:
    """Return `made_cluster`."""
    return made_cluster
