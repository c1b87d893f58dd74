"""Nothing that is answered moves a workload by itself: the HPA's replicas under constant work."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from metrics_server import fallback
from metrics_server.catalogue import CATALOGUE
from metrics_server.rules import MetricRule, Rules

from .simulation import SYNC, Simulation

GUIDE = Path(__file__).parent.parent / "docs" / "hpa.md"
MEAN = Rules(CATALOGUE).find("gpu_utilization")
SUM = Rules(CATALOGUE).find("gpu_utilization_sum")
MAX = Rules(CATALOGUE).find("gpu_utilization_max")
WINDOWED = structs.replace(MEAN, name="smooth", window=60)


async def test_draining_pods_do_not_make_it_flap() -> None:
    """Work for four of eight pods, which drain for 28 s: it goes to four and stays there."""
    async with Simulation(MEAN, target=80, replicas=8, work=320, stabilization=0) as world:
        await world.run(600)
    assert moves(8, world.series) == [4]


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


TARGETS = [40, 50, 60, 70, 80, 90, 95]


@pytest.mark.parametrize("target", TARGETS)
async def test_a_simulation_moves_a_workload_once_at_most(target: int) -> None:
    """From 4 replicas, 20 minutes without any measurement: one change, by 90 / target at most."""
    async with Simulation(MEAN, target=target, replicas=4, work=0, loading=45) as world:
        world.exporters_fail = True
        await world.run(1200)
    assert "simulated" in world.sources
    assert len(moves(4, world.series)) <= 1
    assert world.series[-1] <= ceil(4 * 90 / target)


@pytest.mark.parametrize("drawn", [60, 75, 90])
async def test_the_table_in_the_guide(drawn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the guide says of simulated values is what comes of them."""
    monkeypatch.setattr(fallback, "_draw", lambda _: (drawn - 60) / 31 + 0.01)
    ends = []
    for target in (40, 50, 60, 70, 80, 90):
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


@pytest.mark.parametrize(("pods", "work"), [(3, 350), (4, 420)])
async def test_a_window_does_not_overshoot(pods: int, work: int) -> None:
    """New pods that start hot do not weigh a whole window: it grows to what the work needs."""
    needed = ceil(work / 70)
    async with Simulation(
        WINDOWED, target=70, replicas=pods, work=work, hot=20, loading=10
    ) as world:
        for _ in range(60 * 20):
            if world.now % SYNC == 0:
                await world.sync()
            else:
                await world.measure()
            world.now += 1
    assert max(world.series) <= needed + 1
    assert world.series[-1] in (needed, needed + 1)


@settings(deadline=None, max_examples=100)
@given(
    replicas=st.integers(1, 12),
    work=st.floats(20, 1000),
    target=st.sampled_from([50, 60, 70, 80, 90]),
    stabilization=st.sampled_from([0.0, 60.0, 300.0]),
    loading=st.floats(0, 60),
    draining=st.floats(0, 30),
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
    rule: MetricRule,
) -> None:
    """Wherever it begins, it moves once, up or down, and stays."""
    async with Simulation(
        rule,
        target=target,
        replicas=replicas,
        work=work,
        stabilization=stabilization,
        loading=loading,
        draining=draining,
    ) as world:
        await world.run(1800)
    settled = world.series[-20:]
    assert len(set(settled)) == 1
    # Pods that are saturated do not show how much more there is to do.
    if work <= 100 * replicas:
        assert len(moves(replicas, world.series)) <= 1


@settings(deadline=None, max_examples=100)
@given(
    replicas=st.integers(1, 20),
    utilization=st.floats(0, 100),
    target=st.sampled_from([40, 50, 60, 70, 80, 90, 95]),
    loading=st.floats(0, 120),
    draining=st.floats(0, 30),
    syncs=st.integers(1, 120),
    rule=st.sampled_from([MEAN, SUM, MAX]),
)
async def test_an_outage_moves_a_workload_once_at_most(
    *,
    replicas: int,
    utilization: float,
    target: int,
    loading: float,
    draining: float,
    syncs: int,
    rule: MetricRule,
) -> None:
    """However long the exporters are away, and whatever was measured before."""
    async with Simulation(
        rule,
        target=target,
        replicas=replicas,
        work=utilization * replicas,
        loading=loading,
        draining=draining,
    ) as world:
        await world.sync()
        before = world.wanted
        world.exporters_fail = True
        world.series.clear()
        await world.run(syncs * SYNC)
    assert len(moves(before, world.series)) <= 1
