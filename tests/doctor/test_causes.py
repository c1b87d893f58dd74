"""Problems are traced to their causes, and causes are not taken for consequences."""

import json
from graphlib import TopologicalSorter

import pytest

from metrics_server.doctor.causes import Ref, first_causes, traced
from metrics_server.doctor.model import Outcome, Problem, Verdict, merged, outcome_of
from metrics_server.doctor.output import as_json, as_text, exit_status
from metrics_server.doctor.registry import CHECKS, FOLLOWS
from metrics_server.simulator import manifests
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.kube.objects import NODES as NODE_OBJECTS
from metrics_server.simulator.kube.objects import Object
from tests.doctor import server_faults
from tests.doctor.running import Run
from tests.doctor.scene import NODES, PODS_METRIC, Scene

TABLE = {
    ("b", "effect"): frozenset({("a", "cause"), ("a", "other")}),
    ("c", "end"): frozenset({("b", "effect")}),
}


def outcome(check: str, *problems: Problem) -> Outcome:
    """A check that has found these problems."""
    return outcome_of(check, Verdict("", problems))


def problem(name: str, *concerned: str, alone: bool = False) -> Problem:
    """A problem with these objects."""
    return Problem(name, name, name, f"fix {name} {concerned}", objects=concerned, alone=alone)


def follows(*outcomes: Outcome) -> dict[str, tuple[str, ...]]:
    """The causes of each problem."""
    found = traced(outcomes, TABLE)
    return {one.name: one.follows for each in found for one in each.problems}


def test_a_problem_follows_from_the_first_cause() -> None:
    """Over several steps, and even if the cause is reported later."""
    chain = (outcome("a", problem("cause")), outcome("b", problem("effect")))
    assert follows(*chain, outcome("c", problem("end"))) == {
        "cause": (),
        "effect": ("cause",),
        "end": ("cause",),
    }
    assert follows(outcome("c", problem("end")), outcome("b", problem("effect"))) == {
        "end": ("effect",),
        "effect": (),
    }


@pytest.mark.parametrize(
    ("causes", "effect", "expected"),
    [
        ([("cause", ("node/1",))], ("node/1",), ("cause",)),
        ([("cause", ("node/1", "node/2"))], ("node/1",), ("cause",)),
        # Something else is wrong with node 2.
        ([("cause", ("node/1",))], ("node/1", "node/2"), ()),
        (
            [("cause", ("node/1",)), ("other", ("node/2",))],
            ("node/1", "node/2"),
            ("cause", "other"),
        ),
        ([("cause", ("node/3",))], ("node/1",), ()),
        ([("cause", ())], ("node/1", "metric/x"), ("cause",)),
        ([("cause", ("metric/x", "node/2"))], ("metric/x", "api/y"), ("cause",)),
        ([("cause", ("node/1",))], (), ()),
    ],
)
def test_a_cause_explains_what_it_concerns(
    causes: list[tuple[str, tuple[str, ...]]], effect: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """All objects of one kind, alone or with others; without objects, everything."""
    found = [problem(name, *concerned) for name, concerned in causes]
    assert follows(outcome("a", *found), outcome("b", problem("effect", *effect)))["effect"] == (
        expected
    )


def test_what_has_a_cause_of_its_own_follows_from_nothing() -> None:
    """Whatever else is wrong."""
    effect = problem("effect", alone=True)
    assert follows(outcome("a", problem("cause")), outcome("b", effect))["effect"] == ()


def test_problems_that_differ_only_in_their_objects_are_one() -> None:
    """Such as two APIServices with one CA; with different fixes they are two."""
    first = Problem("certificate", "APIService a", "it expires", "restart", objects=("api/a",))
    second = Problem("certificate", "APIService b", "it expires", "restart", objects=("api/b",))
    other = Problem("certificate", "APIService c", "it expires", "other")
    (one, two) = merged([first, other, second])
    assert (one.about, one.objects) == ("APIService a, APIService b", ("api/a", "api/b"))
    assert two == other


def test_the_table_names_problems_that_exist() -> None:
    """Of checks that exist."""
    known: set[Ref] = {(check.name, name) for check in CHECKS for name in check.finds}
    named = set(FOLLOWS) | {cause for causes in FOLLOWS.values() for cause in causes}
    assert named - known == set()


def test_the_table_has_no_cycle() -> None:
    """Everything has a first cause."""
    assert set(TopologicalSorter(FOLLOWS).static_order()) >= set(FOLLOWS)


async def test_one_cause_is_one_problem(scene: Scene, run: Run) -> None:
    """The text and the JSON say which to begin with, and what follows from it."""
    await scene.cluster.set_fault(Fault("down"))
    ran = await run("doctor", "-n", "default", "--hpa", "inference")
    assert ran.status == 1
    head, *blocks, last = ran.out.removesuffix("\n").split("\n\n")
    words = {line.split()[1]: line.split()[0] for line in head.splitlines()}
    assert {name: word for name, word in words.items() if word not in ("ok", "not")} == {
        "exporters-failed": "PROBLEM",
        "measurement": "follows",
        "answer": "follows",
    }
    assert blocks[0].startswith("PROBLEM exporters-failed: exporters gpu-node-0, gpu-node-1\n")
    begins = "follows from exporters-failed: "
    assert [one.split("\n")[0].removeprefix(begins) for one in blocks[1:]] == [
        "measurement: Pods metric gpu_utilization",
        "answer: Pods metric gpu_utilization",
    ]
    assert ran.out.count("  fix:\n") == 1
    assert last.startswith("1 problem found by 24 checks, and 2 more that follow from it; ")
    assert "; begin with exporters-failed; not run: " in last

    document = json.loads((await run("doctor", "--hpa", "inference", "--output", "json")).out)
    assert (document["status"], document["beginWith"]) == (1, ["exporters-failed"])
    found = {one["check"]: one["problems"] for one in document["checks"] if one["problems"]}
    assert {check: problems[0]["follows"] for check, problems in found.items()} == {
        "exporters-failed": [],
        "measurement": ["exporters-failed"],
        "answer": ["exporters-failed"],
    }
    assert all(problems[0]["fix"] for problems in found.values())


async def test_two_causes_are_two(scene: Scene) -> None:
    """An exporter that is not Ready does not explain another node without one."""
    scene.slice_of(NODES[0], endpoints__0__conditions={"ready": False})
    assert [one.name for one in first_causes(await scene.doctor())] == ["exporter-not-ready"]
    scene.api.apply(NODE_OBJECTS, manifests.node("gpu-node-9", 4))
    outcomes = await scene.doctor()
    assert [one.name for one in first_causes(outcomes)] == ["exporter-not-ready", "no-exporter"]
    assert "2 problems found by" in as_text(outcomes)


async def test_an_endpoint_without_a_node_explains_one_node(scene: Scene) -> None:
    """It may be the exporter of any node, but only of one."""
    scene.slice_of(NODES[0], endpoints__0__nodeName=None)
    assert [one.name for one in first_causes(await scene.doctor())] == ["exporter-node-name"]
    scene.api.apply(NODE_OBJECTS, manifests.node("gpu-node-9", 4))
    causes = [one.name for one in first_causes(await scene.doctor())]
    assert causes == ["exporter-node-name", "no-exporter"]


async def test_an_image_that_is_missing_has_nothing_to_do_with_the_configuration(
    scene: Scene,
) -> None:
    """The container has not started, so its configuration cannot be the cause."""
    await server_faults.crashing(scene)
    await server_faults.bad_configuration(scene)
    causes = [one.name for one in first_causes(await scene.doctor())]
    assert causes == ["server-not-ready", "configuration"]


async def test_a_metric_of_another_server_is_not_explained(scene: Scene) -> None:
    """One metric fails because of an exporter, the other for unknown reasons."""
    await scene.cluster.set_fault(Fault("down"))
    queue = (
        ", {type: External, external: {metric: {name: queue_length}, "
        'target: {type: AverageValue, averageValue: "5"}}}]'
    )
    inactive: Object = {"type": "ScalingActive", "status": "False", "reason": "FailedGetPodsMetric"}
    scene.hpa(PODS_METRIC.removesuffix("]") + queue, status={"conditions": [inactive]})
    causes = first_causes(await scene.doctor({"namespace": "default", "hpa": "inference"}))
    assert [one.name for one in causes] == ["exporters-failed", "hpa-inactive"]


def test_nothing_is_wrong() -> None:
    """There is nothing to begin with."""
    outcomes = traced([outcome("a")], TABLE)
    assert exit_status(outcomes) == 0
    assert as_text(outcomes).endswith("no problem found by 1 check\n")
    assert json.loads(as_json(outcomes))["beginWith"] == []
