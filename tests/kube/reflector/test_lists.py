"""A reflector lists objects, page by page."""

import json

import msgspec
import pytest

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS
from tests.kube.conftest import Recording
from tests.support.reflecting import PATH, Naps, decode, lists, names, pod, running, watches
from tests.support.waiting import until


async def test_recorded_pods_and_events_give_the_store(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, recording: Recording
) -> None:
    """Replaying a real cluster's list and watch ends with the cluster's last pods."""
    pages = [msgspec.to_builtins(recording(f"pods-list-page{n}"))["response"]["body"] for n in "12"]
    events = [entry["event"] for entry in msgspec.to_builtins(recording("pods-watch"))["events"]]
    last: dict[str, Pod] = {}
    for item in (item for page in pages for item in page["items"]):
        api.apply(PODS, item)
        last[item["metadata"]["name"]] = decode(json.dumps(item).encode())
    async with running(reflector):
        await until(reflector.synced.is_set)
        assert {found.name: found for found in store.in_namespace("default")} == last
        for event in events:
            name = event["object"]["metadata"].get("name")
            match event["type"]:
                case "ADDED" | "MODIFIED":
                    api.apply(PODS, event["object"])
                    last[name] = decode(json.dumps(event["object"]).encode())
                case "DELETED":
                    api.delete(PODS, "default", name)
                    del last[name]
        await until(lambda: {p.name: p for p in store.in_namespace("default")} == last)
    assert len(last) == 6
    assert {event["type"] for event in events} == {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"}
    assert (reflector.relists, reflector.restarts, reflector.last_error) == (0, 0, None)


async def test_recorded_lines_are_taken_as_they_are(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, recording: Recording
) -> None:
    """A real API server's events, bookmarks included, are read unchanged."""
    entries = msgspec.to_builtins(recording("pods-watch"))["events"]
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("first"))
        await until(lambda: names(store) == {"first"})
        for entry in entries:
            api.faults.send_to_watches(json.dumps(entry["event"]).encode() + b"\n")
        wanted = {"wh9t7", "cflpp", "vj7gz", "79xlq", "27hqn"}
        await until(lambda: names(store) == {"first", *(f"inference-cb965885-{n}" for n in wanted)})
    assert reflector.relists == 0


async def test_a_list_comes_in_pages(
    client: KubernetesClient, api: KubernetesAPI, store: PodStore
) -> None:
    """Each page is requested with the previous one's token, without a version."""
    for number in range(1201):
        api.apply(PODS, pod(f"pod-{number}"))
    reflector = Reflector(client, PATH, decode, store, first_version="")
    async with running(reflector):
        await until(reflector.synced.is_set)
    assert len(store) == 1201
    first, *others = lists(api)
    assert first == {"limit": "500", "resourceVersion": ""}
    assert [set(query) for query in others] == [{"limit", "continue"}] * 2


async def test_the_first_list_may_come_in_one_piece(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore
) -> None:
    """For version 0 an API server ignores the limit, which is just as good."""
    for number in range(1201):
        api.apply(PODS, pod(f"pod-{number}"))
    async with running(reflector):
        await until(reflector.synced.is_set)
    assert len(store) == 1201
    assert lists(api) == [{"limit": "500", "resourceVersion": "0"}]


async def test_a_watch_asks_for_bookmarks_and_an_end(
    client: KubernetesClient, api: KubernetesAPI, store: PodStore
) -> None:
    """A watch continues from the list, lasts five to ten minutes, and has the list's query."""
    query = {"labelSelector": "app=a"}
    reflector = Reflector(client, PATH, decode, store, query=query)
    api.apply(PODS, pod("x"))
    async with running(reflector):
        await until(lambda: len(watches(api)) == 1)
    asked = watches(api)[0]
    assert 300 <= int(asked.pop("timeoutSeconds")) <= 600
    assert asked == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": str(api.store.version),
        "labelSelector": "app=a",
    }
    assert lists(api)[0]["labelSelector"] == "app=a"


@pytest.mark.slow
async def test_a_dropped_watch_goes_on(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, naps: Naps
) -> None:
    """Changes while the connection is broken are seen later, without a list."""
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("before"))
        await until(lambda: names(store) == {"before"})
        naps.may_go_on.clear()
        api.faults.drop_watches()
        await until(lambda: len(naps.seconds) == 1)
        assert "cannot be reached" in (reflector.last_error or "")
        assert reflector.synced.is_set()
        api.apply(PODS, pod("meanwhile"))
        api.delete(PODS, "default", "before")
        naps.may_go_on.set()
        await until(lambda: names(store) == {"meanwhile"})
        await until(lambda: reflector.last_error is None)
    assert (len(lists(api)), reflector.relists, reflector.restarts) == (1, 0, 1)
