"""Whatever the workload, an HPA settles."""

from collections.abc import Sequence
from math import ceil

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metrics_server.rules.model import MetricRule
from tests.support.simulation import SYNC, Simulation
from tests.support.stability import MAX, MEAN, SUM, changes

pytestmark = pytest.mark.slow

# Its last move is 300 s of stabilization after the last change, and pods drain for up to 150 s. The
# last 20 syncs, or 300 s, are those in which it must not move again.
SETTLED = 900


def moves(before: int, series: Sequence[int]) -> list[int]:
    """The numbers of replicas that it was moved to.

    Steps of one move up under the HPA's own policy, to double or by 4 pods at once, are one.
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
    """Wherever it begins, it moves at most once, up or down, and stays there."""
    # Whole percents may add or remove a replica if the work is close to a whole number of pods.
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
        await world.run(SETTLED)
    settled = world.series[-20:]
    assert len(set(settled)) == 1
    found = moves(replicas, world.series)
    # Saturated pods do not show how much more work there is.
    if work <= 100 * replicas:
        assert len(found) <= 1
    else:
        assert found == sorted(found)


@settings(deadline=None, max_examples=100)
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
    """The workload moves once at most, whatever the outage, and whatever happened before."""
    # A maximum is not work: the HPA asks for less as draining pods end.
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
    """Whichever is asked, the workload moves at most once, if all have measured it.

    Some drop the last measurement before others, and the HPA's window spans that.
    """
    async with Simulation(
        rule,
        target=target,
        replicas=replicas,
        work=utilization * replicas,
        loading=loading,
        routes=routes,
    ) as world:
        await world.run(SETTLED)
        before = world.wanted
        world.exporters_fail = True
        world.series.clear()
        await world.run(syncs * SYNC)
    assert len(changes(before, world.series)) <= 1


@settings(deadline=None, max_examples=100)
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
    """Intermittent exporters leave the workload where its work puts it."""
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
        await world.run(SETTLED)
    settled = world.series[-20:]
    assert len(set(settled)) == 1
    assert 0.9 * target - 1 <= work / settled[0] or settled[0] == ceil(work / target)
    assert work / settled[0] <= 1.1 * target + 1
