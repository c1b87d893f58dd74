"""Watches of the simulated Kubernetes API that start with all existing objects."""

import pytest
from aiohttp import ClientSession

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import NODES
from tests.support.api_answers import as_object, watching

NODES_PATH = "/api/v1/nodes"
ASKED = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}


async def test_a_bookmark_ends_the_initial_events(
    api: KubernetesAPI, session: ClientSession
) -> None:
    """It has their version; changes follow."""
    async with watching(session, NODES_PATH, **ASKED, allowWatchBookmarks="true") as watch:
        begun = [await watch.change() for _ in range(3)]
        assert begun == [("ADDED", f"gpu-node-{number}") for number in range(3)]
        end = await watch.next()
        assert end == {
            "type": "BOOKMARK",
            "object": {
                "kind": "Node",
                "apiVersion": "v1",
                "metadata": {
                    "resourceVersion": str(api.store.version),
                    "annotations": {"k8s.io/initial-events-end": "true"},
                },
            },
        }
        api.delete(NODES, "", "gpu-node-1")
        assert await watch.change() == ("DELETED", "gpu-node-1")


@pytest.mark.parametrize(
    ("streams", "query", "message"),
    [
        (False, ASKED, "sendInitialEvents is forbidden for watch unless the WatchList"),
        (True, {"sendInitialEvents": "true"}, "requires setting resourceVersionMatch"),
        (True, {"resourceVersionMatch": "NotOlderThan"}, "unless sendInitialEvents is provided"),
    ],
)
async def test_a_watch_that_may_not_ask_for_them_is_refused(
    api: KubernetesAPI,
    session: ClientSession,
    streams: bool,  # noqa: FBT001 - the case
    query: dict[str, str],
    message: str,
) -> None:
    """With kube-apiserver's 422: without the feature gate, and for incomplete requests."""
    api.faults.streams_lists = streams
    async with session.get(NODES_PATH, params={"watch": "true", **query}) as response:
        status = as_object(await response.json())
    assert (response.status, status["reason"]) == (422, "Invalid")
    assert message in str(status["message"])
