"""A reflector of a simulated Kubernetes API's pods."""

from collections.abc import AsyncIterator

import pytest

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from tests.support.reflecting import PATH, Naps, decode


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API that sends bookmarks often, and only lists in pages."""
    async with KubernetesAPI(bookmark_seconds=0.05) as running:
        running.faults.streams_lists = False
        yield running


@pytest.fixture
def reflector(client: KubernetesClient, store: PodStore, naps: Naps) -> Reflector[Pod]:
    """A reflector of the pods whose naps have the full length of each pause."""
    return Reflector(client, PATH, decode, store, sleep=naps, rand=lambda: 1.0)
