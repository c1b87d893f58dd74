"""Nothing that is answered moves a workload by itself: the HPA's replicas under constant work."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.measuring import fallback
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import MetricRule, Rules
from tests.support.simulation import SYNC, Simulation

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).parents[2] / "docs" / "hpa.md"
MEAN = Rules(CATALOGUE).find("gpu_utilization")
SUM = Rules(CATALOGUE).find("gpu_utilization_sum")
MAX = Rules(CATALOGUE).find("gpu_utilization_max")
WINDOWED = structs.replace(MEAN, name="smooth", window=60)


@pytest.mark.parametrize("rule", [MEAN, SUM, WINDOWED], ids=["mean", "sum", "window"])
@pytest.mark.parametrize(("target", "work"), [(80, 320), (50, 200), (70, 245)])
@pytest.mark.parametrize("stagger", [0, 5])
@pytest.mark.parametrize("holding", [0, 20])
async def test_draining_pods_do_not_make_it_flap(
    rule: MetricRule, target: int, work: int, stagger: float, holding: float
) -> None:
    """Work for four of eight pods, which drain for 28 s: it goes to four and stays there.

    So it does where the pods that drain are gone one by one, and where they still work for a while.
    """
    async with Simulation(
        rule,
        target=target,
        replicas=8,
        work=work,
        stabilization=0,
        stagger=stagger,
        holding=holding,
    ) as world:
        await world.run(600)
    assert changes(8, world.series) == [4]


def changes(before: int, series: Sequence[int]) -> list[int]:
    """The replicas at each change."""
    return [now for was, now in pairwise([before, *series]) if was != now]


def moves(before: int, series: Sequence[int]) -> list[int]:
    """The replicas it was moved to.

    A move up that the HPA's own policy takes in steps, to the double or by 4 pods at once, is one.
    """
    found: list[int] = []
    limit = 0
    for now in series:
        if now != before:
            if found and found[-1] == limit and now > before:
                found.pop()
            found.append(now)
            limit = max(2 * before, before + 4)
        before = now
    return found


TARGETS = [40, 50, 60, 70, 90, 95]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("routes", [(0,), (0, 1), (0, 0, 0, 0, 1, 2)])
async def test_a_simulation_moves_a_workload_once_at_most(
    target: int, routes: Sequence[int]
) -> None:
    """From 4 replicas, 20 minutes without any measurement: one change, by 90 / target at most.

    It does not matter how many replicas the server has, and which of them is asked.
    """
    async with Simulation(
        MEAN, target=target, replicas=4, work=0, loading=45, routes=routes
    ) as world:
        world.exporters_fail = True
        await world.run(1200)
    assert "simulated" in world.sources
    assert len(changes(4, world.series)) <= 1
    assert world.series[-1] <= ceil(4 * 90 / target)


@pytest.mark.parametrize("drawn", [60, 75, 90])
async def test_the_table_in_the_guide(drawn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guide says of simulated values is what comes of them."""
    monkeypatch.setattr(fallback, "_draw", lambda _: (drawn - 60) / 31 + 0.01)
    ends = []
    for target in TARGETS:
        async with Simulation(MEAN, target=target, replicas=4, work=0, loading=45) as world:
            world.exporters_fail = True
            await world.run(1200)
        ends.append(str(world.series[-1]))
    assert f"| {drawn} % | {' | '.join(ends)} |\n" in GUIDE.read_text("utf-8")


@pytest.mark.parametrize("rule", [MEAN, SUM], ids=["mean", "sum"])
async def test_an_outage_keeps_the_replicas_of_the_last_measurement(rule: MetricRule) -> None:
    """At 90 % with 4 pods the last measurement asks for 6: never for 8, never for 11."""
    async with Simulation(rule, target=70, replicas=4, work=360) as world:
        await world.sync()
        world.exporters_fail = True
        await world.run(1200)
    assert set(world.series) == {6}
    assert {"exporters", "last-known"} <= set(world.sources)


async def test_a_repeated_maximum_does_not_multiply() -> None:
    """Once pods were added, the last maximum no longer holds: the error keeps the replicas."""
    chain: tuple[fallback.FallbackKind, ...] = ("last-known", "error")
    async with Simulation(MAX, target=70, replicas=4, work=360, chain=chain) as world:
        await world.sync()
        world.exporters_fail = True
        await world.run(300)
    assert set(world.series) == {6}
    assert world.sources[-1] == "error"


async def most_replicas(window: int, replicas: int, work: float) -> int:
    """How far it grows where new pods report 100 % for 30 s, whatever they have to do."""
    rule = structs.replace(MEAN, name="smooth", window=window)
    async with Simulation(
        rule, target=70, replicas=replicas, work=work, hot=30, loading=10
    ) as world:
        for _ in range(60 * 20):
            if world.now % SYNC == 0:
                await world.sync()
            else:
                await world.measure()
            world.now += 1
    assert world.series[-1] == ceil(work / 70)
    return max(world.series)


@pytest.mark.parametrize("window", [30, 60, 120])
@pytest.mark.parametrize(("replicas", "work"), [(2, 350), (3, 350), (3, 420), (4, 420)])
async def test_a_window_does_not_overshoot(window: int, replicas: int, work: float) -> None:
    """New pods that start hot do not weigh a whole window: it grows to what the work needs."""
    assert await most_replicas(window, replicas, work) == ceil(work / 70)


async def test_without_a_window_hot_pods_overshoot() -> None:
    """As docs/metrics.md has it: to 8 replicas where 5 are needed."""
    assert await most_replicas(0, 2, 350) == 8


async def test_a_rollout_that_replaces_all_pods_keeps_the_replicas() -> None:
    """With the strategy Recreate the last pods have no work left, and the new ones load."""
    async with Simulation(
        MEAN, target=70, replicas=4, work=240, stabilization=0, loading=120, holding=60
    ) as world:
        await world.sync()
        world.replace_pods()
        world.work = 0
        await world.run(60)
        world.work = 240
        await world.run(600)
    assert set(world.series) == {4}


@settings(deadline=None, max_examples=150)
@given(
    replicas=st.integers(1, 12),
    work=st.floats(20, 1000),
    target=st.sampled_from([50, 60, 70, 80, 90]),
    stabilization=st.sampled_from([0.0, 60.0, 300.0]),
    loading=st.floats(0, 60),
    draining=st.floats(0, 30),
    stagger=st.floats(0, 10),
    holding=st.floats(0, 30),
    rule=st.sampled_from([MEAN, SUM]),
)
async def test_constant_work_settles(
    *,
    replicas: int,
    work: float,
    target: int,
    stabilization: float,
    loading: float,
    draining: float,
    stagger: float,
    holding: float,
    rule: MetricRule,
) -> None:
    """Wherever it begins, it moves once, up or down, and stays."""
    # Whole percents may add or take a replica where the work is next to a whole number of pods.
    rounding = 0.5 * max(replicas, work / target + 1) / target
    assume(abs(work / target - round(work / target)) > rounding)
    async with Simulation(
        rule,
        target=target,
        replicas=replicas,
        work=work,
        stabilization=stabilization,
        loading=loading,
        draining=draining,
        stagger=stagger,
        holding=holding,
    ) as world:
        await world.run(1800)
    settled = world.series[-20:]
    assert len(set(settled)) == 1
    found = moves(replicas, world.series)
    # Pods that are saturated do not show how much more there is to do.
    if work <= 100 * replicas:
        assert len(found) <= 1
    else:
        assert found == sorted(found)


@settings(deadline=None, max_examples=150)
@given(
    replicas=st.integers(1, 20),
    utilization=st.tuples(st.floats(0, 100), st.floats(0, 100)),
    target=st.sampled_from([50, 60, 70, 80, 90, 95]),
    stabilization=st.sampled_from([0.0, 300.0]),
    loading=st.floats(0, 120),
    draining=st.floats(0, 60),
    measured=st.tuples(st.integers(0, 12), st.integers(1, 12)),
    syncs=st.integers(1, 120),
    rule=st.sampled_from([MEAN, SUM, MAX]),
)
async def test_an_outage_moves_a_workload_once_at_most(
    *,
    replicas: int,
    utilization: tuple[float, float],
    target: int,
    stabilization: float,
    loading: float,
    draining: float,
    measured: tuple[int, int],
    syncs: int,
    rule: MetricRule,
) -> None:
    """However long the exporters are away, and whatever was measured, and changed, before."""
    # A maximum is not work: what the HPA makes of it falls as pods that drain are gone.
    assume(rule is not MAX or stabilization)
    async with Simulation(
        rule,
        target=target,
        replicas=replicas,
        work=0,
        stabilization=stabilization,
        loading=loading,
        draining=draining,
    ) as world:
        for percent, times in zip(utilization, measured, strict=True):
            world.work = percent * replicas
            await world.run(times * SYNC)
        before = world.wanted
        world.exporters_fail = True
        world.series.clear()
        await world.run(syncs * SYNC)
    assert len(changes(before, world.series)) <= 1


@settings(deadline=None, max_examples=150)
@given(
    replicas=st.integers(1, 12),
    utilization=st.floats(0, 100),
    target=st.sampled_from([50, 60, 70, 80, 90, 95]),
    loading=st.floats(0, 120),
    syncs=st.integers(1, 120),
    routes=st.permutations([0, 0, 0, 1, 1, 2]),
    rule=st.sampled_from([MEAN, SUM, MAX]),
)
async def test_replicas_of_the_server_agree_in_an_outage(
    *,
    replicas: int,
    utilization: float,
    target: int,
    loading: float,
    syncs: int,
    routes: list[int],
    rule: MetricRule,
) -> None:
    """Any of them is asked, and the workload moves at most once, if they have all measured it.

    Some give up the last measurement before others, and the HPA's window spans that.
    """
    async with Simulation(
        rule,
        target=target,
        replicas=replicas,
        work=utilization * replicas,
        loading=loading,
        routes=routes,
    ) as world:
        await world.run(100 * SYNC)
        before = world.wanted
        world.exporters_fail = True
        world.series.clear()
        await world.run(syncs * SYNC)
    assert len(changes(before, world.series)) <= 1


@settings(deadline=None, max_examples=150)
@given(
    work=st.floats(100, 700),
    outages=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 40)), max_size=4),
    target=st.sampled_from([50, 60, 70, 80, 90]),
    loading=st.floats(0, 60),
    draining=st.floats(0, 30),
)
async def test_it_settles_after_outages(
    *,
    work: float,
    outages: list[tuple[int, int]],
    target: int,
    loading: float,
    draining: float,
) -> None:
    """Exporters that come and go leave the workload where its work has it."""
    rounding = 0.5 * (work / target + 1) / target
    assume(abs(work / target - round(work / target)) > rounding)
    async with Simulation(
        MEAN, target=target, replicas=8, work=work, loading=loading, draining=draining
    ) as world:
        for measured, missing in outages:
            await world.run(measured * SYNC)
            world.exporters_fail = True
            before = world.wanted
            world.series.clear()
            await world.run(missing * SYNC)
            assert len(changes(before, world.series)) <= 1
            world.exporters_fail = False
        await world.run(1800)
    settled = world.series[-20:]
    assert len(set(settled)) == 1
    assert 0.9 * target - 1 <= work / settled[0] or settled[0] == ceil(work / target)
    assert work / settled[0] <= 1.1 * target + 1
