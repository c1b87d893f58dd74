"""When findings become events."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from metrics_server.advising.watcher import Watcher
from metrics_server.common.tasks import background
from metrics_server.errors import PodsUnknownError
from metrics_server.kube.events import Regarding
from metrics_server.kube.pods import Pod
from tests.advising.manifests import hpa, pods, setup
from tests.support.clock import Clock
from tests.support.waiting import until

MEAN = (
    "- {type: External, external: {metric: {name: gpu_utilization, selector: {matchLabels: {app: "
    'inference}}}, target: {averageValue: "70"}}}'
)
TYPO = (
    "- {type: External, external: {metric: {name: gpu_utilization, selector: {matchLabels: {app: "
    'typo}}}, target: {value: "70"}}}'
)
RIGHT = TYPO.replace("typo", "inference")
KEY = ("default", "inference")


class Recorder:
    """Records events, and says whether they were emitted."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.regarding: list[Regarding] = []
        self.works = True

    async def warn(self, regarding: Regarding, reason: str, message: str) -> bool:
        """Record one."""
        assert message
        self.reasons.append(reason)
        self.regarding.append(regarding)
        return self.works


class Stage:
    """A watcher, and what it depends on.

    Attributes:
        listed: the pods of the namespace; None if they are not known.
        events: what was emitted.
        clock: the watcher's.
    """

    def __init__(self, period: float = 120) -> None:
        self.listed: tuple[Pod, ...] | None = pods()
        self.events = Recorder()
        self.clock = Clock()
        self.watcher = Watcher(setup(), self, self.events, period=period, clock=self.clock)
        self.store = self.watcher.store()

    def in_namespace(self, _: str) -> tuple[Pod, ...]:
        """The pods of a namespace."""
        if self.listed is None:
            raise PodsUnknownError("not known yet")
        return self.listed

    async def look(self, after: float = 0) -> list[str]:
        """Look at the HPA some seconds later, and return the reasons of all events up to then."""
        self.clock.advance(after)
        await self.watcher.look(KEY)
        return self.events.reasons

    def apply(self, metrics: str, **fields: str) -> None:
        """Let the HPA have these metrics."""
        self.store.apply("MODIFIED", structs.replace(hpa(metrics), **fields))

    def counts(self) -> dict[str, int]:
        """The findings there are, but for those of which there is none."""
        return {reason: count for reason, count in self.watcher.counts().items() if count}


@pytest.fixture
def stage() -> Stage:
    """The stage."""
    return Stage()


async def test_a_finding_is_reported_once(stage: Stage) -> None:
    """However often the HPA is looked at, and for however long."""
    stage.apply(MEAN)
    for _ in range(5):
        assert await stage.look(after=4000) == ["MeanUnderAverageValue"]
        assert stage.counts() == {"MeanUnderAverageValue": 1}
    (regarding,) = stage.events.regarding
    assert regarding == Regarding(
        "autoscaling/v2", "HorizontalPodAutoscaler", "inference", "default", "u-1"
    )


async def test_a_finding_that_comes_back_is_reported_again(stage: Stage) -> None:
    """It had disappeared in between."""
    for metrics in (MEAN, RIGHT, MEAN):
        stage.apply(metrics)
        await stage.look()
    assert stage.events.reasons == ["MeanUnderAverageValue"] * 2


async def test_an_event_that_could_not_be_emitted_is_tried_again(stage: Stage) -> None:
    """At each look, until it is."""
    stage.apply(MEAN)
    stage.events.works = False
    await stage.look()
    assert len(await stage.look()) == 2
    stage.events.works = True
    await stage.look()
    assert len(await stage.look()) == 3


async def test_an_hpa_that_is_made_again_has_events_of_its_own(stage: Stage) -> None:
    """Kubernetes keeps events by UID."""
    stage.apply(MEAN)
    await stage.look()
    stage.apply(MEAN, uid="u-2")
    await stage.look()
    assert [one.uid for one in stage.events.regarding] == ["u-1", "u-2"]


async def test_an_hpa_that_is_deleted_leaves_nothing(stage: Stage) -> None:
    """No finding is counted, and no memory kept."""
    stage.apply(MEAN)
    await stage.look()
    stage.store.apply("DELETED", hpa(MEAN))
    await stage.look()
    assert stage.counts() == {}
    assert not stage.watcher._seen


async def test_what_may_pass_must_last_for_a_minute(stage: Stage) -> None:
    """A selector that matches no pods yet is no mistake."""
    stage.apply(TYPO)
    assert await stage.look() == []
    assert await stage.look(after=59) == []
    assert stage.counts() == {}
    assert await stage.look(after=1) == ["SelectorMatchesNoPods"]
    assert stage.counts() == {"SelectorMatchesNoPods": 1}
    # It went away at one look, and must last from the beginning.
    stage.listed = pods(labels={"app": "typo"})
    assert len(await stage.look()) == 1
    assert stage.counts() == {}
    stage.listed = pods()
    assert len(await stage.look(after=100)) == 1
    assert len(await stage.look(after=30)) == 1
    assert len(await stage.look(after=30)) == 2


async def test_a_finding_stays_the_same_while_its_workload_sleeps(stage: Stage) -> None:
    """Without pods the same may pass; it is not reported again when they are back."""
    stage.apply(MEAN)
    await stage.look()
    awake = stage.listed
    for listed in ((), awake, (), awake):
        stage.listed = listed
        await stage.look(after=300)
    assert stage.events.reasons == ["MeanUnderAverageValue"]


async def test_what_no_longer_may_pass_is_reported_at_once(stage: Stage) -> None:
    """Without pods it is not known whose the metric is."""
    awake, stage.listed = stage.listed, ()
    stage.apply(MEAN)
    assert await stage.look() == []
    stage.listed = awake
    assert await stage.look(after=1) == ["MeanUnderAverageValue"]


async def test_nothing_is_concluded_from_pods_that_are_not_known(stage: Stage) -> None:
    """What was found before still holds, and nothing is added."""
    stage.apply(MEAN)
    await stage.look()
    stage.listed = None
    stage.apply(RIGHT)
    await stage.look()
    assert stage.counts() == {"MeanUnderAverageValue": 1}
    stage.listed = pods()
    await stage.look()
    assert stage.counts() == {}


@asynccontextmanager
async def at_work(stage: Stage) -> AsyncIterator[None]:
    """The watcher at work."""
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
    """Pods change although the HPA does not."""
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
    """An HPA whose status changes all the time is no reason to forget the others."""
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
    """The pods of many workloads, by namespace; those of a workload share their labels."""
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
    """The longest time of the processor that the event loop took for one round, up to the end."""
    # This is not about what other tests have left for the collector.
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
@pytest.mark.parametrize(("namespaces", "hpas", "of_each"), [(1, 2, 150_000), (500, 10, 300)])
async def test_the_event_loop_is_never_blocked(
    namespaces: int, hpas: int, of_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 150,000 pods in one namespace, or 5,000 HPAs in many, a round takes less than 50 ms."""
    # Without the pauses, so that it takes seconds.
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
