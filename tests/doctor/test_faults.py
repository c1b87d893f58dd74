"""The doctor finds each fault by name, with a command that fixes it, and nothing else."""

import pytest

from metrics_server.doctor.causes import first_causes
from metrics_server.doctor.checks import interval
from metrics_server.doctor.output import exit_status
from tests.doctor import exporter_faults, server_faults, workload_faults
from tests.doctor.fault_table import FAULTS, Fault
from tests.doctor.scene import NODES, Scene, problems_of
from tests.support.exporters import page


def test_there_are_faults_of_many_kinds() -> None:
    """At least 25 names, and some in each of the modules."""
    modules = {fault.breaks.__module__ for fault in FAULTS}
    assert modules == {one.__name__ for one in (exporter_faults, server_faults, workload_faults)}
    assert len({fault.name for fault in FAULTS}) >= 25


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"namespace": "default", "selector": "app=inference"},
        {"namespace": "default", "hpa": "inference"},
    ],
    ids=["cluster", "workload", "hpa"],
)
async def test_a_healthy_cluster_has_no_problem(scene: Scene, flags: dict[str, str]) -> None:
    """Every check runs, and finds nothing."""
    outcomes = await scene.doctor(flags)
    assert {one.check: (one.status, one.summary) for one in outcomes if one.status != "ok"} == {}
    assert exit_status(outcomes) == 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.breaks.__name__)
async def test_a_fault_is_found(scene: Scene, fault: Fault) -> None:
    """By name, with a command; whatever else is found follows from it."""
    await fault.breaks(scene)
    outcomes = await scene.doctor(fault.flags)
    problems = [problem for one in outcomes for problem in one.problems]
    (cause,) = first_causes(outcomes)
    assert cause.name == fault.name, outcomes
    assert fault.fix in cause.fix
    others = [one for one in problems if one is not cause]
    assert {one.name for one in others} == set(fault.others)
    assert {one.follows for one in others} <= {(fault.name,)}
    assert exit_status(outcomes) == 1


@pytest.mark.slow
async def test_values_that_do_not_change_are_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter that collects every 30 s, which is the default; here it is shortened."""
    monkeypatch.setattr(interval, "MOST_SECONDS", 0.2)
    monkeypatch.setattr(interval, "_STEP_SECONDS", 0.05)
    for node in NODES:
        await scene.exporter(node, page({("default", scene.pod_name): [40]}))
    outcomes = await scene.doctor(interval=0.5)
    problem = problems_of(outcomes)["exporter-interval"]
    assert "DCGM_EXPORTER_INTERVAL=1000" in problem.fix


@pytest.mark.slow
async def test_values_that_change_are_well(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated GPUs draw different power each time they are read."""
    monkeypatch.setattr(interval, "_STEP_SECONDS", 0.05)
    scene.cluster.scale(2)
    outcomes = await scene.doctor(interval=5)
    (found,) = [one for one in outcomes if one.check == "exporter-interval"]
    assert (found.status, found.problems) == ("ok", ())
    assert found.summary.startswith("values change about every ")


async def test_values_that_were_not_watched_for_long(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unchanged values mean little then: there is no problem, and the summary says why."""
    monkeypatch.setattr(interval, "_STEP_SECONDS", 0.05)
    for node in NODES:
        await scene.exporter(node, page({("default", scene.pod_name): [40]}))
    (found,) = [one for one in await scene.doctor(interval=0.2) if one.check == "exporter-interval"]
    assert (found.status, found.problems) == ("ok", ())
    assert found.summary.startswith("values did not change twice within 0.2 s: --measure-interval")
