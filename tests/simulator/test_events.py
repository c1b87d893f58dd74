"""Events in the simulated Kubernetes API, and their HPAs."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import AUTOSCALERS, Json, Object, metadata

PATH = "/api/v1/namespaces/team/events"


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """An API without objects."""
    async with KubernetesAPI() as running:
        yield running


@pytest.fixture
async def session(api: KubernetesAPI) -> AsyncIterator[ClientSession]:
    """A plain HTTP client of it."""
    async with ClientSession(api.url) as made:
        yield made


def event(namespace: str | None = "team", **names: str) -> Object:
    """A core/v1 Event."""
    involved: Object = {"kind": "HorizontalPodAutoscaler", "name": "web"}
    if namespace is not None:
        involved["namespace"] = namespace
    meta: Object = {**names}
    return {"metadata": meta, "involvedObject": involved, "reason": "R", "type": "Warning"}


async def created(session: ClientSession, body: Object, path: str = PATH) -> tuple[int, Object]:
    """The response to a POST."""
    async with session.post(path, json=body) as response:
        return response.status, await response.json()


async def test_an_event_is_created_once(session: ClientSession) -> None:
    """Its name is unique, and it can be read."""
    assert (await created(session, event(name="web.1")))[0] == 201
    status, body = await created(session, event(name="web.1"))
    assert (status, body["reason"]) == (409, "AlreadyExists")
    assert body["message"] == 'events "web.1" already exists'
    async with session.get(PATH) as response:
        listed = await response.json()
    assert listed["kind"] == "EventList"
    (item,) = listed["items"]
    assert (item["metadata"]["namespace"], item["reason"]) == ("team", "R")


async def test_a_name_can_be_generated(session: ClientSession) -> None:
    """With the prefix, and different each time."""
    names: set[Json] = set()
    for _ in range(3):
        status, body = await created(session, event(generateName="web."))
        assert status == 201
        names.add(metadata(body)["name"])
    assert len(names) == 3
    assert all(str(name).startswith("web.") and len(str(name)) > 5 for name in names)
    assert (await created(session, event()))[0] == 422


@pytest.mark.parametrize(
    ("namespace", "path", "status"),
    [
        ("team", PATH, 201),
        ("other", PATH, 422),
        (None, PATH, 422),
        (None, PATH.replace("team", "default"), 201),
    ],
)
async def test_an_event_is_in_the_namespace_of_its_object(
    session: ClientSession, namespace: str | None, path: str, status: int
) -> None:
    """For a cluster-scoped object, that is "default"."""
    found, body = await created(session, event(namespace, name="web.1"), path)
    assert found == status
    if status == 422:
        assert "does not match event.namespace" in str(body["message"])


async def test_hpas_are_listed_and_watched(api: KubernetesAPI, session: ClientSession) -> None:
    """In all namespaces and in one, read-only over HTTP."""
    path = "/apis/autoscaling/v2/horizontalpodautoscalers"
    for namespace in ("a", "b"):
        api.apply(AUTOSCALERS, {"metadata": {"name": "web", "namespace": namespace}})
    for where, count in ((path, 2), (path.replace("v2/", "v2/namespaces/a/"), 1)):
        async with session.get(where) as response:
            listed = await response.json()
        assert listed["kind"] == "HorizontalPodAutoscalerList"
        assert len(listed["items"]) == count
    query = {"watch": "true", "resourceVersion": str(api.store.version)}
    async with session.get(path, params=query) as watch:
        api.delete(AUTOSCALERS, "b", "web")
        assert b'"DELETED"' in await watch.content.readline()
    status, _ = await created(session, {"metadata": {"name": "x"}}, path)
    assert status == 405
