"""How long a reflector trusts a silent watch, and what happens after that."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

import metrics_server.kube.client
from metrics_server.errors import KubernetesError, PodsUnknownError
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.freshness import WatchedPods
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod, pod_decoder
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS
from tests.support.clock import Clock
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected, serving
from tests.support.reflecting import PATH, Naps, lists, names, pod, running, watches
from tests.support.waiting import until

decode = pod_decoder()


@pytest.fixture
def clock() -> Clock:
    """The reflector's clock."""
    return Clock(1000)


@pytest.fixture
async def quiet() -> AsyncIterator[KubernetesAPI]:
    """A Kubernetes API without bookmarks."""
    async with KubernetesAPI(bookmark_seconds=1000) as api:
        api.faults.streams_lists = False
        yield api


@pytest.fixture
async def client(quiet: KubernetesAPI, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    """A client of that API."""
    async with connected(write_kubeconfig(tmp_path / "quiet", quiet.url)) as made:
        yield made


@pytest.fixture
def reflector(
    client: KubernetesClient, store: PodStore, naps: Naps, clock: Clock
) -> Reflector[Pod]:
    """A reflector of the pods with the test's clock."""
    return Reflector(client, PATH, decode, store, sleep=naps, rand=lambda: 1.0, clock=clock)


async def cut_watch(api: KubernetesAPI, asked: int) -> None:
    """Cut the watch, once this many have been opened."""
    await until(lambda: len(watches(api)) == asked and api.open_watches == 1)
    api.faults.drop_watches()


async def test_silence_is_bound_by_bookmarks(client: KubernetesClient, store: PodStore) -> None:
    """However long a watch may last, it is dropped a minute after a bookmark was due."""
    silences: list[float] = []

    class Watching(KubernetesClient):
        @asynccontextmanager
        async def watch(
            self, path: str, query: Mapping[str, str], *, silence: float, **_: object
        ) -> AsyncIterator[AsyncIterator[bytes]]:
            silences.append(silence)
            async with client.watch(path, query, silence=silence) as lines:
                yield lines

    noting = Watching(client._api, client._watching, client._load, client._sockets)
    async with running(Reflector(noting, PATH, decode, store)):
        await until(lambda: len(silences) == 1)
    assert silences == [120]


async def test_a_watch_that_lived_is_a_success(  # noqa: PLR0917 - fixtures
    quiet: KubernetesAPI,
    client: KubernetesClient,
    reflector: Reflector[Pod],
    naps: Naps,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy that cuts silent connections every minute does not lengthen the wait."""
    opened: list[str] = []
    watch = client.watch

    @asynccontextmanager
    async def watched(
        path: str, query: Mapping[str, str], *, silence: float, **_: object
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        async with watch(path, query, silence=silence) as lines:
            opened.append(path)
            yield lines

    monkeypatch.setattr(client, "watch", watched)
    async with running(reflector):
        for number in range(1, 6):
            await until(lambda: len(opened) == number)  # noqa: B023 - it is waited for here
            clock.now += 59
            quiet.faults.drop_watches()
            await until(lambda: len(naps.seconds) == number)  # noqa: B023 - it is waited for here
    assert naps.seconds == [0.5] * 5
    # This does not count as lost contact.
    assert reflector.last_error is None
    # After two minutes of silence it lists, as nothing else would show a change.
    assert len(lists(quiet)) == 3


async def test_a_version_that_goes_back_costs_a_list(
    quiet: KubernetesAPI, reflector: Reflector[Pod], store: PodStore
) -> None:
    """The event's object may be outdated, so it is ignored."""
    quiet.apply(PODS, pod("a"))
    async with running(reflector):
        await until(lambda: quiet.open_watches == 1)
        quiet.delete(PODS, "default", "a")
        await until(lambda: names(store) == set())
        quiet.faults.send_to_watches(
            b'{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"default",'
            b'"resourceVersion":"2"},"spec":{},"status":{}}}\n'
        )
        await until(lambda: reflector.relists == 1)
        assert "went back from version 3 to 2" in (reflector.last_error or "")
        await until(lambda: quiet.open_watches == 1)
    assert names(store) == set()


async def test_a_repeated_event_changes_nothing(
    quiet: KubernetesAPI, reflector: Reflector[Pod], store: PodStore
) -> None:
    """An ADDED for a known pod does not add another one, and causes no list."""
    async with running(reflector):
        await until(lambda: quiet.open_watches == 1)
        added = (
            b'{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"default",'
            b'"resourceVersion":"7"},"spec":{},"status":{}}}\n'
        )
        quiet.faults.send_to_watches(added + added)
        await until(lambda: names(store) == {"a"})
        quiet.faults.send_to_watches(added)
        quiet.faults.send_to_watches(added.replace(b'"a"', b'"b"').replace(b'"7"', b'"8"'))
        await until(lambda: names(store) == {"a", "b"})
    assert reflector.relists == 0


async def test_pods_are_refused_before_they_are_listed(
    quiet: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, naps: Naps
) -> None:
    """Unknown pods are not "no pods": that would be reported as a wrong selector."""
    naps.may_go_on.clear()
    quiet.faults.refuse_next(500, "not now")
    pods = WatchedPods(store, reflector)
    with pytest.raises(PodsUnknownError, match="are not known yet"):
        pods.in_namespace("default")
    async with running(reflector):
        await until(lambda: bool(naps.seconds))
        with pytest.raises(PodsUnknownError, match="are not known yet"):
            pods.in_namespace("default")
        naps.may_go_on.set()
        await until(reflector.synced.is_set)
        assert pods.in_namespace("default") == ()


async def test_pods_are_refused_once_they_are_too_old(
    quiet: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, clock: Clock
) -> None:
    """Three minutes after the last sign of life they are too old; any sign of life is enough."""
    pods = WatchedPods(store, reflector)
    quiet.apply(PODS, pod("a"))
    async with running(reflector):
        await until(lambda: quiet.open_watches == 1)
        clock.now += 180
        assert len(pods.in_namespace("default")) == 1
        clock.now += 1
        with pytest.raises(
            PodsUnknownError, match="heard nothing from the Kubernetes API for 181 seconds"
        ) as raised:
            pods.in_namespace("default")
        assert raised.value.code == 503
        quiet.apply(PODS, pod("b"))
        await until(lambda: not reflector.is_stale)
        assert len(pods.in_namespace("default")) == 2


async def test_opening_a_watch_is_not_a_sign_of_life(
    quiet: KubernetesAPI, reflector: Reflector[Pod], naps: Naps, clock: Clock
) -> None:
    """The new watch may be as silent as the one before."""
    async with running(reflector):
        await until(lambda: quiet.open_watches == 1)
        clock.now += 50
        naps.last = len(naps.seconds) + 1
        quiet.faults.drop_watches()
        await until(lambda: len(naps.seconds) == naps.last)
        naps.may_go_on.set()
        await until(lambda: len(watches(quiet)) == 2 and quiet.open_watches == 1)
        assert reflector.silence == 50


async def test_a_watch_that_is_not_answered_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Changes in the cluster may take any time, but not the API's answer to the watch request."""
    monkeypatch.setattr(metrics_server.kube.client, "_OPEN_SECONDS", 0.05)

    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with (
        serving(never) as url,
        connected(write_kubeconfig(tmp_path / "hanging", url)) as client,
    ):
        with pytest.raises(KubernetesError, match="did not answer in time"):
            async with client.watch(PATH, {}, silence=1000):
                pass


async def test_watches_leave_connections_to_others(
    quiet: KubernetesAPI, client: KubernetesClient
) -> None:
    """However many namespaces are watched, another request gets its connection."""
    async with asyncio.timeout(10), AsyncExitStack() as stack:
        for _ in range(101):
            await stack.enter_async_context(
                client.watch(PATH, {"watch": "true", "resourceVersion": "1"}, silence=1000)
            )
        assert quiet.open_watches == 101
        assert await client.get("/version", {}, timeout=5)
