"""A cluster for tests that change its trust."""

from collections.abc import AsyncIterator

import pytest

from metrics_server.simulator.kube.reviews import Caller
from tests.support.exporters import page
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod


@pytest.fixture
async def simulated() -> AsyncIterator[Cluster]:
    """A server with a measurement."""
    pages = {"gpu-0": page({("default", "a"): [40]})}
    tokens = {"good": Caller("robot", groups=("robots",))}
    async with cluster(pages, [pod("a")], tokens=tokens) as simulated:
        yield simulated
