"""A reflector's watch begins with everything, if the API server offers that."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from msgspec import Raw

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS
from tests.support.harness import write_kubeconfig
from tests.support.initial_events import END, line, streaming, versioned
from tests.support.kubernetes import connected
from tests.support.reflecting import (
    PATH,
    Naps,
    decode,
    lists,
    names,
    pod,
    running,
    streams,
    watches,
)
from tests.support.waiting import until


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API that sends bookmarks often, and initial events on request."""
    async with KubernetesAPI(bookmark_seconds=0.05) as made:
        yield made


async def test_one_stream_brings_all_and_every_change(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore
) -> None:
    """Neither a list nor a second watch is needed."""
    for number in range(1201):
        api.apply(PODS, pod(f"pod-{number}"))
    async with running(reflector):
        await until(reflector.synced.is_set)
        assert len(store) == 1201
        api.apply(PODS, pod("another"))
        api.delete(PODS, "default", "pod-7")
        await until(lambda: "another" in names(store) and "pod-7" not in names(store))
    assert (lists(api), watches(api)) == ([], [])
    (asked,) = streams(api)
    assert 300 <= int(asked.pop("timeoutSeconds")) <= 600
    assert asked == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "",
        "resourceVersionMatch": "NotOlderThan",
        "sendInitialEvents": "true",
    }
    assert (reflector.relists, reflector.restarts) == (0, 0)


async def test_nothing_is_known_before_the_end_of_the_initial_events(
    api: KubernetesAPI, store: PodStore, client: KubernetesClient
) -> None:
    """Otherwise some of the pods would be reported as all of them."""
    seen: list[tuple[int, bool, str]] = []

    def decode_and_look(raw: Raw) -> Pod:
        seen.append((len(store), reflector.synced.is_set(), reflector.resource_version))
        return decode(raw)

    for name in "abc":
        api.apply(PODS, pod(name))
    reflector = Reflector(client, PATH, decode_and_look, store)
    async with running(reflector):
        await until(reflector.synced.is_set)
    assert seen == [(0, False, "")] * 3


@pytest.mark.parametrize("events", [0, 1, 2, 3])
async def test_a_stream_that_breaks_is_followed_by_a_list(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, naps: Naps, events: int
) -> None:
    """The stream's events are discarded: a pod may be deleted before everything is read again."""
    for name in "abc":
        api.apply(PODS, pod(name))
    api.faults.cut_next_stream(events)
    naps.may_go_on.clear()
    async with running(reflector):
        await until(lambda: bool(naps.seconds))
        assert (len(store), reflector.synced.is_set()) == (0, False)
        assert reflector.last_error is not None
        api.delete(PODS, "default", "a")
        naps.may_go_on.set()
        await until(reflector.synced.is_set)
        assert names(store) == {"b", "c"}
        await until(lambda: len(watches(api)) == 1)
    assert (len(streams(api)), len(lists(api)), naps.seconds) == (1, 1, [0.5])


async def test_a_stream_that_breaks_leaves_what_was_known(
    api: KubernetesAPI, store: PodStore, client: KubernetesClient, naps: Naps
) -> None:
    """After lost history, pods that are gone are removed only when all has been read again."""
    replaced: list[int] = []

    class NotingStore(PodStore):
        def replace(self, items: Iterable[Pod]) -> None:
            super().replace(items)
            replaced.append(len(self))

    store = NotingStore()
    for name in "abc":
        api.apply(PODS, pod(name))
    reflector = Reflector(client, PATH, decode, store, sleep=naps)
    async with running(reflector):
        await until(lambda: api.open_watches == 1 and reflector.synced.is_set())
        naps.may_go_on.clear()
        api.faults.cut_next_stream(1)
        api.faults.fail_watches(410, "too old resource version: 1 (2)")
        await until(lambda: len(naps.seconds) == 1)
        api.delete(PODS, "default", "a")
        assert names(store) == {"a", "b", "c"}
        naps.may_go_on.set()
        await until(lambda: reflector.relists == 1)
        assert names(store) == {"b", "c"}
    assert replaced == [3, 2]


async def test_where_streams_are_refused_pages_are_listed_at_once(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, naps: Naps
) -> None:
    """This is not an outage, and streams may be offered the next time everything is read."""
    api.faults.streams_lists = False
    api.apply(PODS, pod("a"))
    async with running(reflector):
        await until(lambda: len(watches(api)) == 1)
        assert (names(store), naps.seconds, reflector.last_error) == ({"a"}, [], None)
        assert (len(streams(api)), len(lists(api))) == (1, 1)
        api.faults.streams_lists = True
        api.faults.fail_watches(410, "too old resource version: 1 (2)")
        await until(lambda: reflector.relists == 1)
    assert (len(streams(api)), len(lists(api))) == (2, 1)


@pytest.mark.parametrize("code", [403, 410, 429, 500])
async def test_after_any_other_refusal_pages_are_listed(
    api: KubernetesAPI, reflector: Reflector[Pod], naps: Naps, code: int
) -> None:
    """The wait is kept; then the pods become known even if no watch is allowed."""
    api.faults.refuse_next(code, "not now", times=2)
    async with running(reflector):
        await until(reflector.synced.is_set)
    assert (len(streams(api)), len(lists(api)), naps.seconds) == (1, 2, [0.5, 1])


async def test_an_api_that_was_away_is_asked_for_a_stream_again(
    store: PodStore, naps: Naps, tmp_path: Path
) -> None:
    """Nothing was refused: all its clients come back at once, and streams cost it least."""
    async with KubernetesAPI() as away:
        port = int(away.url.rpartition(":")[2])
        kubeconfig = write_kubeconfig(tmp_path / "away", away.url)
    naps.last = 2
    async with connected(kubeconfig) as client:
        reflector = Reflector(client, PATH, decode, store, sleep=naps)
        async with running(reflector):
            await until(lambda: len(naps.seconds) == 2)
            async with KubernetesAPI(port=port) as back:
                naps.may_go_on.set()
                await until(reflector.synced.is_set)
                assert (len(streams(back)), lists(back)) == (1, [])


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], set()),
        ([("ADDED", "a", 5), ("ADDED", "b", 3)], {"a", "b"}),
        ([("ADDED", "a", 5), ("DELETED", "a", 6), ("ADDED", "b", 7)], {"b"}),
        ([("ADDED", "a", 5), ("DELETED", "a", 6), ("ADDED", "a", 7)], {"a"}),
        ([("ADDED", "a", 5), ("MODIFIED", "a", 6)], {"a"}),
        ([("ADDED", "strange", 5), ("ADDED", "b", 6)], {"b"}),
    ],
)
async def test_changes_may_come_before_the_end(
    store: PodStore, tmp_path: Path, events: list[tuple[str, str, int]], expected: set[str]
) -> None:
    """Versions are unordered until then; and one strange object affects no other."""
    text = "".join(line(kind, versioned(name, version)) for kind, name, version in events)
    async with streaming(text + END, tmp_path) as client:
        reflector = Reflector(client, PATH, decode, store)
        async with running(reflector):
            await until(reflector.synced.is_set)
            assert (names(store), reflector.resource_version) == (expected, "9")


@pytest.mark.parametrize(
    "text",
    [
        "garbage\n",
        line("ADDED", versioned("a", 5)) + '{"type":"UPSIDE-DOWN","object":{}}\n',
        line("ERROR", {"code": 500, "message": "storage is (re)initializing"}),
        # Before Kubernetes had initial events, existing objects came without marking their end.
        line("ADDED", versioned("a", 5)) + line("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
        line("BOOKMARK", {"metadata": {"resourceVersion": "9", "annotations": {}}}),
        END.replace("true", "false"),
        line("BOOKMARK", {"metadata": {}}),
    ],
)
async def test_a_stream_that_makes_no_sense_is_followed_by_a_list(
    store: PodStore, naps: Naps, tmp_path: Path, text: str
) -> None:
    """Whatever the API answers, the pods become known."""
    async with streaming(text, tmp_path) as client:
        reflector = Reflector(client, PATH, decode, store, sleep=naps)
        async with running(reflector):
            await until(reflector.synced.is_set)
            assert names(store) == {"listed"}
    assert len(naps.seconds) == 1
