"""A Kubernetes API that commands find through a kubeconfig."""

from collections.abc import AsyncIterator

import pytest

from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.gpus.workload import Load
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.reviews import Caller
from metrics_server.simulator.kube.trust import SimulatedTrust


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API on loopback, in plain HTTP."""
    async with KubernetesAPI() as running:
        SimulatedTrust(running, {"good": Caller("robot")})
        yield running


@pytest.fixture
async def cluster(api: KubernetesAPI) -> AsyncIterator[Cluster]:
    """A node with two ready pods, under a steady demand for one and a half GPUs."""
    load = Load(base=150, amplitude=0, noise=0)
    async with Cluster(api, nodes=1, load=load, loading_seconds=0, deleting_seconds=0) as running:
        running.scale(2)
        yield running
