"""A server in a cluster with one workload, and its client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.custom_metrics import UTILIZATION, WEB
from tests.support.exporters import page
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod
from tests.support.sharing import MakeCluster


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


@pytest.fixture(scope="session")
def make_cluster() -> MakeCluster:
    """Return `made_cluster`."""
    return made_cluster
