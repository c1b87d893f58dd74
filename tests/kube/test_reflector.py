import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from msgspec import Raw

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod, pod_decoder
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import NODES, PODS, Object
from tests.kube.conftest import Recording
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected, serving
from tests.support.waiting import until

PATH = "/api/v1/pods"

decode = pod_decoder()


def pod(name: str, gpus: str = "1") -> Object:
    """A Pod with a GPU."""
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "a"}},
        "spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": gpus}}}]},
        "status": {"phase": "Running"},
    }


def names(store: PodStore) -> set[str]:
    """The names of the pods of the default namespace."""
    return {found.name for found in store.in_namespace("default")}


class Naps:
    """Instead of sleep: notes how long, and lasts until it is let on.

    Attributes:
        seconds: how long each was to last.
        may_go_on: while it is not set, no nap ends.
        last: the number of the nap that does not end by itself.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.last = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def __call__(self, seconds: float) -> None:
        """Sleep."""
        self.seconds.append(seconds)
        if len(self.seconds) == self.last:
            self.may_go_on.clear()
        await asyncio.sleep(0)
        await self.may_go_on.wait()


@asynccontextmanager
async def running(reflector: Reflector[Pod]) -> AsyncIterator[None]:
    """A reflector at work."""
    task = asyncio.create_task(reflector.run(), name="reflector under test")
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def store() -> PodStore:
    """What is kept in step."""
    return PodStore()


@pytest.fixture
def naps() -> Naps:
    """What the reflector sleeps with."""
    return Naps()


@pytest.fixture
def reflector(client: KubernetesClient, store: PodStore, naps: Naps) -> Reflector[Pod]:
    """A reflector of the pods that backs off by naps as long as they can be."""
    return Reflector(client, PATH, decode, store, sleep=naps, rand=lambda: 1.0)


def lists(api: KubernetesAPI) -> list[dict[str, str]]:
    """The queries of the lists that were asked for."""
    return [dict(url.query) for url in api.requests if "watch" not in url.query]


def watches(api: KubernetesAPI) -> list[dict[str, str]]:
    """The queries of the watches that were asked for."""
    return [dict(url.query) for url in api.requests if "watch" in url.query]


async def test_recorded_pods_and_events_give_the_store(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, recording: Recording
) -> None:
    """A real cluster's list and watch, replayed, leave the pods that it had at the end."""
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
    """The very events of a real API server, bookmarks too, are read; their version is kept."""
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
    """Each page is asked for with the token of the one before, and no version beside it."""
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
    """At version 0 an API server heeds no limit, and that is as good."""
    for number in range(1201):
        api.apply(PODS, pod(f"pod-{number}"))
    async with running(reflector):
        await until(reflector.synced.is_set)
    assert len(store) == 1201
    assert lists(api) == [{"limit": "500", "resourceVersion": "0"}]


async def test_a_watch_asks_for_bookmarks_and_an_end(
    client: KubernetesClient, api: KubernetesAPI, store: PodStore
) -> None:
    """A watch goes on from the list, lasts five to ten minutes, and has the list's query."""
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
    """What happens while the connection is broken is seen after it, without a list."""
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


async def test_too_many_requests_is_waited_out(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, naps: Naps
) -> None:
    """A busy API server is asked for the watch again, not for a list, which costs it more."""
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("before"))
        await until(lambda: names(store) == {"before"})
        api.faults.refuse_next(429, "the server has received too many requests")
        api.faults.drop_watches()
        await until(lambda: len(watches(api)) == 3)
    assert (len(lists(api)), len(naps.seconds)) == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("inside", [True, False], ids=["in the stream", "as the HTTP status"])
async def test_an_expired_version_causes_a_new_list(
    api: KubernetesAPI,
    reflector: Reflector[Pod],
    store: PodStore,
    naps: Naps,
    inside: bool,  # noqa: FBT001 - the case
) -> None:
    """Where the history is lost, everything is listed again, from etcd: it cannot lead back."""
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("old"))
        await until(lambda: names(store) == {"old"})
        naps.may_go_on.clear()
        api.faults.drop_watches()
        await until(lambda: len(naps.seconds) == 1)
        api.delete(PODS, "default", "old")
        api.apply(PODS, pod("new"))
        if inside:
            api.faults.expire_versions()
        else:
            api.faults.refuse_next(410, "too old resource version")
        naps.may_go_on.set()
        await until(lambda: names(store) == {"new"} and reflector.last_error is None)
    assert [query["resourceVersion"] for query in lists(api)] == ["0", ""]
    assert reflector.relists == 1


async def test_an_expired_page_starts_the_list_again(
    client: KubernetesClient, api: KubernetesAPI, store: PodStore, naps: Naps
) -> None:
    """A list that outlasts the history starts again, and nothing is missing."""
    for number in range(600):
        api.apply(PODS, pod(f"pod-{number:03}"))
    compactions = iter([True])

    def decode_slowly(raw: Raw) -> Pod:
        if next(compactions, False):
            api.apply(PODS, pod("pod-999"))
            api.faults.expire_versions()
        return decode(raw)

    reflector = Reflector(client, PATH, decode_slowly, store, first_version="", sleep=naps)
    async with running(reflector):
        await until(reflector.synced.is_set)
    assert len(store) == 601
    assert [query.get("resourceVersion") for query in lists(api)] == ["", None, "", None]
    assert len(naps.seconds) == 1


@pytest.mark.slow
async def test_errors_are_waited_out_ever_longer(
    api: KubernetesAPI, reflector: Reflector[Pod], naps: Naps
) -> None:
    """Each failure doubles the wait up to its cap; the error is reported, and it is not synced."""
    told: list[str | None] = []
    api.faults.refuse_next(500, "etcdserver: leader changed", times=9)
    async with running(reflector):
        await until(lambda: bool(naps.seconds))
        told.append(reflector.last_error)
        assert not reflector.synced.is_set()
        await until(reflector.synced.is_set)
        await until(lambda: reflector.last_error is None)
    assert naps.seconds == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert told == ["etcdserver: leader changed"]
    assert reflector.relists == 0


async def test_success_resets_the_wait(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, naps: Naps
) -> None:
    """After an event the next failure is the first again."""
    api.faults.refuse_next(500, "no", times=3)
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("x"))
        await until(lambda: names(store) == {"x"})
        api.faults.drop_watches()
        await until(lambda: len(naps.seconds) == 4)
    assert naps.seconds == [0.5, 1, 2, 0.5]


async def test_the_wait_is_random(
    client: KubernetesClient, api: KubernetesAPI, store: PodStore, naps: Naps
) -> None:
    """The wait is anything from nothing to its greatest: replicas do not come all at once."""
    numbers = iter([0.0, 0.25, 0.5])
    reflector = Reflector(client, PATH, decode, store, sleep=naps, rand=lambda: next(numbers, 1))
    api.faults.refuse_next(500, "no", times=3)
    async with running(reflector):
        await until(reflector.synced.is_set)
    assert naps.seconds == [0, 0.25, 1]


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"\xff\xfe\n",
        b'{"type":"ADDED","object":{"metadata":{"name":"x"}}}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":"x","resourceVersion":"9"}}}\n',
        b'{"type":"UPSIDE-DOWN","object":{}}\n',
        b'{"type":"ERROR","object":{"code":500,"message":"storage is (re)initializing"}}\n',
    ],
)
async def test_a_bad_event_costs_a_list(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, line: bytes
) -> None:
    """A malformed event may have been a change: everything is listed again, and it is logged."""
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("x"))
        await until(lambda: names(store) == {"x"})
        api.faults.send_to_watches(line)
        await until(lambda: reflector.relists == 1)
        api.apply(PODS, pod("y"))
        await until(lambda: names(store) == {"x", "y"})


async def test_a_list_never_empties_the_store(client: KubernetesClient, api: KubernetesAPI) -> None:
    """While everything is listed again, the pods known before are there to be asked about."""
    sizes: list[int] = []
    replacements: list[int] = []

    class NotingStore(PodStore):
        def replace(self, items: Iterable[Pod]) -> None:
            super().replace(items)
            replacements.append(len(self))

    store = NotingStore()

    def decode_and_look(raw: Raw) -> Pod:
        sizes.append(len(store))
        return decode(raw)

    for name in "abc":
        api.apply(PODS, pod(name))
    reflector = Reflector(client, PATH, decode_and_look, store, rand=lambda: 0.0)
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("d"))
        await until(lambda: len(store) == 4)
        api.faults.fail_watches(410, "too old resource version: 1 (2)")
        await until(lambda: reflector.relists == 1)
    assert sizes == [0, 0, 0, 3, 4, 4, 4, 4]
    assert replacements == [3, 4]


async def test_a_bookmark_moves_the_version(
    api: KubernetesAPI, reflector: Reflector[Pod], naps: Naps
) -> None:
    """Where other resources change and this one does not, its version does not expire."""
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        node = api.apply(NODES, {"metadata": {"name": "n"}})
        version = msgspec.to_builtins(node)["metadata"]["resourceVersion"]
        await until(lambda: reflector.resource_version == version)
        api.faults.expire_versions()
        naps.may_go_on.clear()
        api.faults.drop_watches()
        await until(lambda: len(naps.seconds) == 1)
        naps.may_go_on.set()
        await until(lambda: len(watches(api)) == 2)
        api.apply(NODES, {"metadata": {"name": "m"}})
        await until(lambda: reflector.resource_version == str(api.store.version))
    assert watches(api)[1]["resourceVersion"] == version
    assert (reflector.relists, reflector.restarts) == (0, 1)


@pytest.mark.slow
async def test_a_watch_that_ends_is_opened_again(
    client: KubernetesClient, api: KubernetesAPI, store: PodStore, naps: Naps
) -> None:
    """The end of a watch is not an error: the next one starts at once, from the last version."""
    reflector = Reflector(client, PATH, decode, store, watch_seconds=(1, 1), sleep=naps)
    async with running(reflector):
        await until(lambda: reflector.restarts == 1)
        api.apply(PODS, pod("x"))
        await until(lambda: names(store) == {"x"})
        assert reflector.last_error is None
    assert (naps.seconds, len(lists(api))) == ([], 1)


async def test_a_silent_connection_is_noticed(store: PodStore, naps: Naps, tmp_path: Path) -> None:
    """A peer that is gone without a word is waited for so long; then everything is listed."""
    async with (
        KubernetesAPI(bookmark_seconds=1000) as silent,
        connected(write_kubeconfig(tmp_path / "silent", silent.url)) as client,
    ):
        reflector = Reflector(
            client, PATH, decode, store, watch_seconds=(0, 0), grace=0.05, sleep=naps
        )
        naps.last = 2
        async with running(reflector):
            await until(lambda: len(naps.seconds) == 2)
    assert len(watches(silent)) == 2
    assert len(lists(silent)) == 2


async def test_an_object_that_cannot_be_read_costs_no_other(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore
) -> None:
    """One strange pod in a list is left out; the rest is as good as ever."""
    api.apply(PODS, pod("good"))
    api.apply(PODS, pod("strange", gpus="many"))
    async with running(reflector):
        await until(reflector.synced.is_set)
    assert names(store) == {"good"}


async def test_a_refusal_is_reported_and_not_synced(
    api: KubernetesAPI, reflector: Reflector[Pod], naps: Naps
) -> None:
    """Without the right to list pods the server is not ready, and says why."""
    naps.may_go_on.clear()
    forbidden = 'pods is forbidden: User "u" cannot list resource "pods" in API group ""'
    api.faults.refuse_next(403, forbidden)
    async with running(reflector):
        await until(lambda: reflector.last_error == forbidden)
        assert not reflector.synced.is_set()


async def test_a_proxy_in_between_causes_no_busy_loop(
    store: PodStore, naps: Naps, tmp_path: Path
) -> None:
    """Broken lists, and watches that end as soon as they begin, are waited out like errors."""
    bodies = iter(["<html>", '{"metadata": {"resourceVersion": "7"}, "items": null}'])

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="" if "watch" in request.query else next(bodies))

    async with (
        serving(answer) as url,
        connected(write_kubeconfig(tmp_path / "proxy", url)) as client,
    ):
        reflector = Reflector(client, PATH, decode, store, sleep=naps, rand=lambda: 1.0)
        naps.last = 4
        async with running(reflector):
            await until(lambda: len(naps.seconds) == 4)
            assert "ended as soon as it was opened" in (reflector.last_error or "")
    assert naps.seconds == [0.5, 1, 2, 4]


async def test_cancelling_ends_it(api: KubernetesAPI, reflector: Reflector[Pod]) -> None:
    """A cancelled reflector stops at once and lets its connection go."""
    task = asyncio.create_task(reflector.run())
    await until(lambda: len(watches(api)) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: api.open_watches == 0)
