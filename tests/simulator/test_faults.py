"""Faults of simulated reviews and of the simulated Kubernetes API, turned on and off."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse, ClientSession, ClientTimeout

from metrics_server.simulator.faults import Fault, FaultKind
from metrics_server.simulator.gpus.exporters import Observation, SimulatedExporter, simulated_node
from metrics_server.simulator.gpus.workload import A100
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS, Json
from metrics_server.simulator.kube.reviews import Caller
from metrics_server.simulator.kube.trust import SimulatedTrust
from tests.support.objects import pod

TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
QUESTIONS: dict[str, dict[str, Json]] = {
    TOKENS: {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": "good"},
    },
    ACCESS: {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "u", "nonResourceAttributes": {"path": "/", "verb": "get"}},
    },
}


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API that would send bookmarks often."""
    async with KubernetesAPI(bookmark_seconds=0.01) as running:
        yield running


async def reviewed(api: KubernetesAPI, path: str, patience: float = 5) -> tuple[int, Json]:
    """The HTTP status of a review, and its kind; a TimeoutError if there is no answer."""
    timeout = ClientTimeout(total=patience)
    async with (
        ClientSession(api.url, timeout=timeout) as session,
        session.post(path, json=QUESTIONS[path]) as answer,
    ):
        return answer.status, (await answer.json())["kind"]


@pytest.mark.parametrize("path", [TOKENS, ACCESS])
async def test_reviews_fail_for_as_long_as_a_test_says(api: KubernetesAPI, path: str) -> None:
    """Both kinds of reviews; afterwards they work as before."""
    reviews = SimulatedTrust(api, {"good": Caller("u")}).reviews
    well = 201, QUESTIONS[path]["kind"]
    assert await reviewed(api, path) == well
    reviews.set_fault(Fault("error"))
    assert await reviewed(api, path) == (500, "Status")
    reviews.set_fault(Fault("garbage"))
    assert await reviewed(api, path) == (201, "Status")
    for fault in (Fault("hang"), Fault("slow", seconds=600)):
        reviews.set_fault(fault)
        with pytest.raises(TimeoutError):
            await reviewed(api, path, patience=0.05)
    reviews.set_fault(Fault("slow", seconds=0))
    assert await reviewed(api, path) == well
    reviews.set_fault(None)
    assert await reviewed(api, path) == well


@pytest.mark.parametrize("kind", ["down", "unlabelled"])
def test_a_fault_that_reviews_cannot_have_is_an_error(api: KubernetesAPI, kind: FaultKind) -> None:
    """A test that set it would prove nothing."""
    with pytest.raises(ValueError, match=f"cannot be {kind}"):
        SimulatedTrust(api).reviews.set_fault(Fault(kind))


async def added(watch: ClientResponse) -> None:
    """Return once an object is added."""
    while b"ADDED" not in await watch.content.readline():
        assert not watch.content.at_eof()


async def test_silent_watches_stay_open(api: KubernetesAPI) -> None:
    """There are no events or bookmarks, and the connection stays open."""
    api.apply(PODS, pod("a"))
    path = "/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion="
    async with (
        ClientSession(api.url) as session,
        session.get(path + str(api.store.version)) as watch,
    ):
        assert b"BOOKMARK" in await watch.content.readline()
        api.faults.silence_watches()
        api.apply(PODS, pod("b"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(added(watch), 0.2)
        assert api.open_watches == 1


async def test_an_exporter_hangs_until_it_is_well() -> None:
    """It accepts the connection, and never answers."""
    node = simulated_node("n", A100, 1)
    async with (
        SimulatedExporter(node, "3.x", lambda: Observation({}, [])) as exporter,
        ClientSession(timeout=ClientTimeout(total=0.05)) as session,
    ):
        await exporter.set_fault(Fault("hang"))
        with pytest.raises(TimeoutError):
            await session.get(exporter.url)
        assert exporter.scrapes == 1
