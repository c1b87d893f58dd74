"""The HPA watcher in the background."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from metrics_server.advising.watcher import Watcher
from metrics_server.common.tasks import background
from metrics_server.kube.pods import Pod
from tests.advising.manifests import hpa, pods, setup
from tests.support.waiting import until
from tests.support.watching import MEAN, RIGHT, TYPO, Recorder, Stage


@asynccontextmanager
async def at_work(stage: Stage) -> AsyncIterator[None]:
    """The running watcher."""
    async with background("check-hpas", stage.watcher.run):
        yield


async def test_an_hpa_is_checked_when_it_changes(stage: Stage) -> None:
    """At once, and not in a few minutes."""
    async with at_work(stage):
        stage.apply(RIGHT)
        stage.apply(MEAN)
        await until(lambda: stage.events.reasons)
    assert stage.events.reasons == ["MeanUnderAverageValue"]


async def test_all_hpas_are_checked_from_time_to_time() -> None:
    """Pods change even if the HPA does not."""
    stage = Stage()
    stage.watcher = Watcher(setup(), stage, stage.events, period=0.01, lasting=0.05)
    stage.store = stage.watcher.store()
    stage.listed = pods(labels={"app": "typo"})
    async with at_work(stage):
        stage.apply(TYPO)
        await until(lambda: not stage.watcher._changed)
        stage.listed = pods()
        await until(lambda: stage.events.reasons)
    assert stage.events.reasons == ["SelectorMatchesNoPods"]


async def test_changes_do_not_put_off_the_check_of_all() -> None:
    """An HPA whose status keeps changing must not starve the others."""
    stage = Stage(period=60)
    looked: list[str] = []
    original = stage.watcher.look

    async def look(key: tuple[str, str]) -> None:
        looked.append(key[1])
        await original(key)
        if key[1] == "busy":
            stage.clock.advance(1)
            stage.watcher._change(key)
            await asyncio.sleep(0)

    stage.watcher.look = look  # type: ignore[method-assign]
    for name in ("busy", "quiet"):
        stage.store.apply("ADDED", structs.replace(hpa(RIGHT), name=name))
    async with at_work(stage):
        await until(lambda: looked.count("quiet") == 3)
    assert 100 < looked.count("busy") < 200


def crowd(namespaces: int, of_each: int) -> dict[str, tuple[Pod, ...]]:
    """The pods of many workloads, by namespace; a workload's pods share their labels."""
    templates = [pods(f"Deployment/app-{n}", count=1)[0] for n in range(50)]
    return {
        f"ns-{number}": tuple(
            structs.replace(templates[n % 50], namespace=f"ns-{number}", name=f"p-{n}")
            for n in range(of_each)
        )
        for number in range(namespaces)
    }


class Crowd:
    """Pods by namespace."""

    def __init__(self, listed: dict[str, tuple[Pod, ...]]) -> None:
        self._listed = listed

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """The pods of a namespace."""
        return self._listed[namespace]


async def longest_pause(done: Callable[[], bool]) -> float:
    """The longest CPU time of a single round of the event loop, up to the end."""
    # Garbage from other tests must not count.
    gc.collect()
    gc.freeze()
    longest, last = 0.0, time.thread_time()
    try:
        while not done():
            await asyncio.sleep(0)
            longest, last = max(longest, time.thread_time() - last), time.thread_time()
    finally:
        gc.unfreeze()
    return longest


@pytest.mark.slow
@pytest.mark.parametrize(("namespaces", "hpas", "of_each"), [(1, 2, 150_000), (100, 10, 300)])
async def test_the_event_loop_is_never_blocked(
    namespaces: int, hpas: int, of_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 150,000 pods in one namespace, or 1,000 HPAs in many, a round takes less than 50 ms."""
    # Without the pauses, it takes seconds.
    monkeypatch.setattr("metrics_server.advising.watcher._SHARE", 1)
    listed = crowd(namespaces, of_each)
    one = hpa(TYPO, target="Deployment/app-0")
    watcher = Watcher(setup(), Crowd(listed), Recorder())
    store = watcher.store()
    items = [
        structs.replace(one, namespace=namespace, name=f"h-{n}")
        for namespace in listed
        for n in range(hpas)
    ]
    store.replace(items)
    async with background("check-hpas", watcher.run):
        pause = await longest_pause(lambda: len(watcher._seen) == len(items))
    assert pause < 0.05
