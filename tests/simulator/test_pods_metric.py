"""The autoscaler decides as the controller of Kubernetes does, on a Pods metric."""

from collections.abc import Iterable, Mapping
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.simulator.autoscaling import pods
from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    Answer,
    Decision,
    History,
    HorizontalPodAutoscaler,
    Item,
    MetricUnavailable,
    PodsMetric,
    Proposal,
    Scale,
    ScaledPod,
    Unable,
)

METRIC = PodsMetric("gpu_utilization", target=50_000)
HPA = HorizontalPodAutoscaler(
    namespace="default", metric=METRIC, max_replicas=100, stabilization_window=0
)
NO_METRICS = (
    "unable to get metric gpu_utilization: no metrics returned from custom metrics API",
    "did not receive metrics for targeted pods (pods might be unready)",
    "no pods returned by selector while calculating replica count",
)

RUNNING = tuple(ScaledPod(name) for name in ("a", "b", "c", "d"))
NOT_READY = ScaledPod("e", ready=False)
PENDING = ScaledPod("e", "Pending", ready=False)
TERMINATING = ScaledPod("e", terminating=True)
FAILED = ScaledPod("e", "Failed", ready=False)
SUCCEEDED = ScaledPod("e", "Succeeded", ready=False)


def items(**units: int) -> tuple[Item, ...]:
    """An answer with an item for each of these pods, in whole units."""
    return tuple(Item(value * 1000, name) for name, value in units.items())


def scale_of(*scaled: ScaledPod, replicas: int | None = None) -> Scale:
    """A scale with these pods, and as many requested."""
    count = len(scaled) if replicas is None else replicas
    return Scale(count, len(scaled), scaled)


def proposed(answer: Answer, *more: ScaledPod) -> int:
    """The replicas that an answer calls for, with four Running pods and more."""
    proposal = pods.propose(METRIC, scale_of(*RUNNING, *more), answer)
    assert isinstance(proposal, Proposal)
    return proposal.replicas


def first(scale: Scale, answer: Answer) -> Decision:
    """The first decision of a controller, at time 0."""
    return decide(HPA, scale, answer, History(), 0)


def active(decision: Decision) -> tuple[str, str, str]:
    """The status, reason and message of the condition ScalingActive."""
    return next(
        (c.status, c.reason, c.message) for c in decision.conditions if c.type == "ScalingActive"
    )


@pytest.mark.parametrize(
    ("answer", "replicas"),
    [
        (items(a=100, b=100, c=100, d=100), 8),
        (items(a=10, b=10, c=10, d=10), 1),
        (items(a=100, b=100, c=100), 6),
        (items(a=100, b=100), 4),
        (items(a=10, b=10), 3),
        (items(a=10), 4),
    ],
)
def test_missing_pods_damp_in_both_directions(answer: Answer, replicas: int) -> None:
    """As a real controller decided, for a target of 50 and four Running pods."""
    assert proposed(answer) == replicas


@pytest.mark.parametrize(
    ("fifth", "answer", "replicas"),
    [
        (NOT_READY, items(a=100, b=100, c=100, d=100, e=100), 10),
        (NOT_READY, items(a=100, b=100, c=100, d=100), 8),
        (NOT_READY, items(a=10, b=10, c=10, d=10), 2),
        (PENDING, items(a=100, b=100, c=100, d=100), 8),
        (PENDING, items(a=10, b=10, c=10, d=10), 1),
    ],
    ids=["not ready, hot", "not ready, missing", "not ready, cold", "Pending", "Pending, cold"],
)
def test_a_fifth_pod_counts_by_its_phase(fifth: ScaledPod, answer: Answer, replicas: int) -> None:
    """As a real controller decided: only Pending is unready; the condition Ready is ignored."""
    assert proposed(answer, fifth) == replicas


def test_a_stranger_counts() -> None:
    """As a real controller decided: 4 pods at 50 and a stranger at 500 average 140, over 4 pods."""
    assert proposed(items(a=50, b=50, c=50, d=50, stranger=500)) == 12


@pytest.mark.parametrize("fifth", [PENDING, TERMINATING, FAILED], ids=lambda pod: pod.phase)
def test_items_of_pods_that_do_not_count_are_dropped(fifth: ScaledPod) -> None:
    """An item of a terminating, Failed or Pending pod changes nothing."""
    without = items(a=60, b=60, c=60, d=60)
    assert proposed((*without, Item(900_000, "e")), fifth) == proposed(without, fifth)


@pytest.mark.parametrize("fifth", [TERMINATING, FAILED], ids=["terminating", "Failed"])
def test_ignored_pods_are_not_missing(fifth: ScaledPod) -> None:
    """Without an item, a terminating or Failed pod does not damp: it is as if it did not exist."""
    assert proposed(items(a=100, b=100, c=100, d=100), fifth) == 8
    assert proposed(items(a=10, b=10, c=10, d=10), fifth) == 1


def test_a_succeeded_pod_is_missing() -> None:
    """It has no sample any more, and damps: ceil(18 / 50 x 5) = 2, not 1."""
    assert proposed(items(a=10, b=10, c=10, d=10), SUCCEEDED) == 2


def test_of_several_items_for_one_pod_the_last_counts() -> None:
    """The controller keeps values by name."""
    assert proposed((*items(a=900, b=100, c=100, d=100), Item(100_000, "a"))) == 8


@pytest.mark.parametrize(
    ("milli", "replicas"),
    [(44_999, 9), (45_000, 10), (55_000, 10), (55_001, 12)],
)
def test_both_ends_of_the_tolerance_change_nothing(milli: int, replicas: int) -> None:
    """From 0.9 to 1.1 of the target the replicas stay; just outside they move."""
    scale = scale_of(*(ScaledPod(str(n)) for n in range(10)))
    answer = tuple(Item(milli, pod.name) for pod in scale.pods)
    proposal = pods.propose(METRIC, scale, answer)
    assert isinstance(proposal, Proposal)
    assert proposal.replicas == replicas


def test_missing_pods_at_the_target_change_nothing() -> None:
    """With the others at exactly the target, nothing is assumed about the missing pods."""
    decision = first(scale_of(*RUNNING), items(a=50))
    assert (decision.replicas, decision.reason) == (
        4,
        "gpu_utilization averages 50 over 1 pod, within 10% of the target of 50: stays at 4",
    )


def test_a_result_in_the_opposite_direction_changes_nothing() -> None:
    """With more replicas requested than pods exist, a scale-up must not become a scale-down."""
    proposal = pods.propose(METRIC, scale_of(*RUNNING, replicas=9), items(a=100, b=100, c=100))
    assert isinstance(proposal, Proposal)
    assert proposal.replicas == 9
    assert proposal.reason.endswith(
        "4 pods x 75 / 50, rounded up, is 6, which is in the opposite direction: stays at 9"
    )


def test_the_status_shows_the_mean_of_the_items() -> None:
    """In whole milli-values, rounded down, and without what is assumed for missing pods."""
    decision = first(scale_of(*RUNNING), items(a=100, b=100, c=101))
    assert decision.current == 100_333
    assert active(decision) == (
        "True",
        "ValidMetricFound",
        (
            "the HPA was able to successfully calculate a replica count from pods metric "
            "gpu_utilization"
        ),
    )


@pytest.mark.parametrize(
    ("answer", "scaled", "cause"),
    [
        ((), RUNNING, NO_METRICS[0]),
        (items(e=100), (PENDING,), NO_METRICS[1]),
        (items(e=100), (TERMINATING,), NO_METRICS[1]),
        (items(a=100), (), NO_METRICS[2]),
        (
            MetricUnavailable("3 pods match, but no measurement"),
            RUNNING,
            (
                "unable to get metric gpu_utilization: unable to fetch metrics from custom metrics "
                "API: 3 pods match, but no measurement"
            ),
        ),
    ],
    ids=["empty list", "only Pending pods", "only terminating pods", "no pods", "error"],
)
def test_without_a_value_the_replicas_are_kept(
    answer: Answer, scaled: tuple[ScaledPod, ...], cause: str
) -> None:
    """The condition says why, in the controller's words; an error is not a recommendation."""
    history = History(((0.0, 4),), ((0.0, 2),))
    decision = decide(HPA, scale_of(*scaled, replicas=4), answer, history, 20)
    assert (decision.replicas, decision.current, decision.history) == (4, None, history)
    message = f"the HPA was unable to compute the replica count: {cause}"
    assert active(decision) == ("False", "FailedGetPodsMetric", message)


@pytest.mark.parametrize("least", [0, 1])
def test_at_zero_replicas_the_metric_is_not_used(least: int) -> None:
    """Pods that do not exist have no mean, whatever minReplicas is."""
    hpa = structs.replace(HPA, min_replicas=least)
    decision = decide(hpa, scale_of(), items(a=100), History(), 0)
    assert decision.replicas == 0
    assert active(decision)[1] == "ScalingDisabled"


def test_scaling_up_is_limited() -> None:
    """The limits are those of every metric: twice the replicas in 15 s."""
    assert first(scale_of(*RUNNING), items(a=500, b=500, c=500, d=500)).replicas == 8


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            items(a=100, b=100, c=100, d=100),
            (
                "gpu_utilization averages 100 over 4 pods, above the target of 50: "
                "4 pods x 100 / 50, rounded up, is 8"
            ),
        ),
        (
            items(a=52, b=52, c=52, d=54),
            "gpu_utilization averages 52.5 over 4 pods, within 10% of the target of 50: stays at 4",
        ),
        (
            items(a=100, b=100, c=100),
            (
                "gpu_utilization averages 100 over 3 pods, above the target of 50; "
                "with 0 for 1 pod "
                "without a value, it averages 75 over 4 pods: 4 pods x 75 / 50, rounded up, is 6"
            ),
        ),
        (
            items(a=10, b=10),
            (
                "gpu_utilization averages 10 over 2 pods, below the target of 50; "
                "with 50 for 2 pods "
                "without a value, it averages 30 over 4 pods: 4 pods x 30 / 50, rounded up, is 3"
            ),
        ),
        (
            items(a=100, b=100),
            (
                "gpu_utilization averages 100 over 2 pods, above the target of 50; "
                "with 0 for 2 pods "
                "without a value, it averages 50 over 4 pods, within 10% of the target of 50: "
                "stays at 4"
            ),
        ),
        (
            items(a=100),
            (
                "gpu_utilization averages 100 over 1 pod, above the target of 50; "
                "with 0 for 3 pods "
                "without a value, it averages 25 over 4 pods, on the other side of the target: "
                "stays at 4"
            ),
        ),
    ],
)
def test_the_reason_shows_the_arithmetic(answer: Answer, reason: str) -> None:
    """A person can follow the numbers."""
    assert first(scale_of(*RUNNING), answer).reason == reason


def mean_of(values: Mapping[str, int]) -> int:
    """The mean in whole milli-values."""
    return sum(values.values()) // len(values)


def near(ratio: float) -> bool:
    """Within the tolerance of 10 %."""
    return 0.9 <= ratio <= 1.1


def counted(
    scaled: Iterable[ScaledPod], values: dict[str, int]
) -> tuple[list[str], list[str], int]:
    """Unready and missing pods, and how many are left; drops items of pods that do not count."""
    unready, missing, ready = [], [], 0
    for pod in scaled:
        if pod.terminating or pod.phase == "Failed":
            values.pop(pod.name, None)
        elif pod.phase == "Pending":
            values.pop(pod.name, None)
            unready.append(pod.name)
        elif pod.name not in values:
            missing.append(pod.name)
        else:
            ready += 1
    return unready, missing, ready


def restated(scaled: Iterable[ScaledPod], answer: tuple[Item, ...], current: int) -> int | str:
    """The controller's rules again, pod by pod; a text is an error."""
    listed = list(scaled)
    values: dict[str, int] = {}
    for item in answer:
        values[item.described] = item.value
    unready, missing, ready = counted(listed, values)
    if not (answer and listed and values):
        return NO_METRICS[0] if not answer else NO_METRICS[1] if listed else NO_METRICS[2]

    before = mean_of(values) / METRIC.target
    if not missing and not (unready and before > 1):
        return current if near(before) else ceil(before * ready)
    if before < 1:
        values |= dict.fromkeys(missing, METRIC.target)
    if before > 1:
        values |= dict.fromkeys(missing, 0) | dict.fromkeys(unready, 0)
    after = mean_of(values) / METRIC.target
    replicas = ceil(after * len(values))
    unchanged = (
        near(after)
        or (before < 1 < after)
        or (after < 1 < before)
        or (after < 1 and replicas > current)
        or (after > 1 and replicas < current)
    )
    return current if unchanged else replicas


NAMES = "abcdefgh"
SCALED = st.lists(
    st.builds(
        ScaledPod,
        name=st.sampled_from(NAMES[:6]),
        phase=st.sampled_from(["Running", "Running", "Running", "Pending", "Succeeded", "Failed"]),
        ready=st.booleans(),
        terminating=st.sampled_from([False, False, False, True]),
    ),
    unique_by=lambda pod: pod.name,
    max_size=6,
).map(tuple)
ANSWERS = st.lists(
    st.builds(
        Item,
        value=st.sampled_from([0, 10_000, 45_000, 50_000, 55_000, 100_000])
        | st.integers(0, 200_000),
        described=st.sampled_from(NAMES),
    ),
    max_size=10,
).map(tuple)


@given(scaled=SCALED, answer=ANSWERS, current=st.integers(1, 12))
@example(scaled=RUNNING, answer=items(a=100, b=100, c=100), current=9)
@example(scaled=(*RUNNING, PENDING), answer=items(a=100, b=100, c=100, stranger=10), current=5)
def test_every_answer_is_counted_by_the_rules(
    scaled: tuple[ScaledPod, ...], answer: tuple[Item, ...], current: int
) -> None:
    """Whatever the pods are, and whichever of them have items."""
    proposal = pods.propose(METRIC, scale_of(*scaled, replicas=current), answer)
    found = proposal.cause if isinstance(proposal, Unable) else proposal.replicas
    assert found == restated(scaled, answer, current)
