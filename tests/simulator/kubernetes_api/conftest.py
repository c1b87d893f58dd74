"""A simulated Kubernetes API with the recorded objects, and a client of it."""

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, NODES, PODS
from tests.support.api_answers import Recordings, as_object, recorded
from tests.support.data import KUBE_API


@pytest.fixture(scope="session")
def recordings() -> dict[str, dict[str, object]]:
    """The recorded requests and responses of a real API server, by name."""
    return {path.stem: json.loads(path.read_bytes()) for path in KUBE_API.glob("*.json")}


@pytest.fixture
async def api(recordings: Recordings) -> AsyncIterator[KubernetesAPI]:
    """An API with the recorded cluster's objects."""
    async with KubernetesAPI(bookmark_seconds=0.05) as running:
        for resource, names in (
            (PODS, ("pods-list-page1", "pods-list-page2")),
            (NODES, ("nodes-list",)),
            (ENDPOINT_SLICES, ("endpointslices-dcgm-exporter",)),
        ):
            for item in (item for name in names for item in recorded(recordings, name).items):
                running.apply(resource, as_object(item))
        yield running


@pytest.fixture
async def session(api: KubernetesAPI) -> AsyncIterator[ClientSession]:
    """A plain HTTP client for that API."""
    async with ClientSession(api.url) as made:
        yield made
