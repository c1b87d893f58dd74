"""Watches of the simulated Kubernetes API."""

import pytest
from aiohttp import ClientSession

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import NODES, PODS, Object
from tests.support.api_answers import watching


async def test_a_watch_without_a_version_begins_with_what_there_is(
    api: KubernetesAPI, session: ClientSession
) -> None:
    """All objects come as just added, followed by changes."""
    async with watching(session, path="/api/v1/nodes") as watch:
        begun = [await watch.change() for _ in range(3)]
        assert begun == [("ADDED", f"gpu-node-{number}") for number in range(3)]
        api.delete(NODES, "", "gpu-node-1")
        assert await watch.change() == ("DELETED", "gpu-node-1")


async def test_objects_come_into_and_leave_a_watch(
    api: KubernetesAPI, session: ClientSession
) -> None:
    """In a watch with a selector, an object whose labels change is added or deleted."""

    def labelled(value: str) -> Object:
        return {"metadata": {"name": "x", "namespace": "default", "labels": {"app": value}}}

    version = str(api.store.version)
    async with watching(session, labelSelector="app=a", resourceVersion=version) as watch:
        for value in ("b", "a", "a", "b", "b"):
            api.apply(PODS, labelled(value))
        api.apply(PODS, {"metadata": {"name": "last", "labels": {"app": "a"}}})
        changes = [await watch.change() for _ in range(4)]
    assert changes == [("ADDED", "x"), ("MODIFIED", "x"), ("DELETED", "x"), ("ADDED", "last")]


@pytest.mark.slow
async def test_a_watch_ends_when_it_was_asked_to(session: ClientSession) -> None:
    """A watch that ends sends its position, and its response is complete."""
    async with watching(
        session,
        path="/api/v1/configmaps",
        timeoutSeconds="1",
        allowWatchBookmarks="true",
        resourceVersion="2",
    ) as watch:
        types = [event["type"] for event in await watch.rest()]
    assert set(types) == {"BOOKMARK"}
