"""An HPA settles: no flapping from draining, fallbacks or windows."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import pytest
from msgspec import structs

from metrics_server.measuring import fallback
from metrics_server.rules.model import MetricRule
from tests.support.simulation import SYNC, Simulation
from tests.support.stability import MAX, MEAN, SUM, changes

pytestmark = pytest.mark.slow


GUIDE = Path(__file__).parents[2] / "docs" / "hpa.md"

WINDOWED = structs.replace(MEAN, name="smooth", window=60)


@pytest.mark.parametrize("rule", [MEAN, SUM, WINDOWED], ids=["mean", "sum", "window"])
@pytest.mark.parametrize(("target", "work"), [(80, 320), (50, 200), (70, 245)])
@pytest.mark.parametrize("stagger", [0, 5])
@pytest.mark.parametrize("holding", [0, 20])
async def test_draining_pods_do_not_make_it_flap(
    rule: MetricRule, target: int, work: int, stagger: float, holding: float
) -> None:
    """With work for four of eight pods, which drain for 28 s, it goes to four and stays there.

    The same holds if draining pods end one by one, or still work for a while.
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


TARGETS = [40, 50, 60, 70, 90, 95]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("routes", [(0,), (0, 1), (0, 0, 0, 0, 1, 2)])
async def test_a_simulation_moves_a_workload_once_at_most(
    target: int, routes: Sequence[int]
) -> None:
    """In 20 minutes without measurements, 4 replicas change once, by 90 / target at most.

    The number of the server's replicas, and which of them is asked, do not matter.
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
    """The guide's table has the results of simulated values."""
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
    """With 4 pods at 90 % the last measurement asks for 6: never for 8, never for 11."""
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
    """How far it grows if new pods report 100 % for 30 s, whatever their work."""
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
    """Hot new pods do not weigh a whole window: it grows only to what the work needs."""
    assert await most_replicas(window, replicas, work) == ceil(work / 70)


async def test_without_a_window_hot_pods_overshoot() -> None:
    """As in docs/metrics.md: to 8 replicas if 5 are needed."""
    assert await most_replicas(0, 2, 350) == 8


async def test_a_rollout_that_replaces_all_pods_keeps_the_replicas() -> None:
    """With the Recreate strategy the last pods have no work left, and the new ones are loading."""
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
