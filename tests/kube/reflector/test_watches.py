"""A reflector's watches: bookmarks, ends, and silent connections."""

import asyncio
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from msgspec import Raw

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import NODES, PODS
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected, serving
from tests.support.reflecting import PATH, Naps, decode, lists, names, pod, running, watches
from tests.support.waiting import until


async def test_a_list_never_empties_the_store(client: KubernetesClient, api: KubernetesAPI) -> None:
    """While everything is listed again, the earlier pods remain available."""
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
    """While only other resources change, this one's version does not expire."""
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
    # By this clock, each watch has lasted, however late a busy machine notices it.
    reflector = Reflector(
        client, PATH, decode, store, watch_seconds=(1, 1), sleep=naps, clock=count().__next__
    )
    async with running(reflector):
        await until(lambda: reflector.restarts == 1)
        api.apply(PODS, pod("x"))
        await until(lambda: names(store) == {"x"})
        assert reflector.last_error is None
    assert (naps.seconds, len(lists(api))) == ([], 1)


@pytest.mark.slow
async def test_a_silent_connection_is_noticed(store: PodStore, naps: Naps, tmp_path: Path) -> None:
    """A silent peer is given up after a while; then everything is listed."""
    async with (
        KubernetesAPI(bookmark_seconds=1000) as silent,
        connected(write_kubeconfig(tmp_path / "silent", silent.url)) as client,
    ):
        silent.faults.streams_lists = False
        reflector = Reflector(
            client, PATH, decode, store, watch_seconds=(0, 0), grace=0.5, sleep=naps
        )
        naps.last = 2
        async with running(reflector):
            await until(lambda: len(naps.seconds) == 2)
    assert len(watches(silent)) == 2
    assert len(lists(silent)) == 2


async def test_an_object_that_cannot_be_read_costs_no_other(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore
) -> None:
    """One strange pod in a list is left out; the rest is not affected."""
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
    """Broken lists, and watches that end at once, cause waits like errors."""
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
    """A cancelled reflector stops at once and releases its connection."""
    task = asyncio.create_task(reflector.run())
    await until(lambda: len(watches(api)) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: api.open_watches == 0)
