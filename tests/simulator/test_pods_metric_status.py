"""The HPA's status and the controller's reasons for a Pods metric."""

import pytest
from msgspec import structs

from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    Answer,
    Decision,
    History,
    MetricUnavailable,
    ScaledPod,
)
from tests.support.pods_metric import (
    HPA,
    NO_METRICS,
    PENDING,
    RUNNING,
    TERMINATING,
    first,
    items,
    scale_of,
)


def active(decision: Decision) -> tuple[str, str, str]:
    """The ScalingActive condition's status, reason and message."""
    return next(
        (c.status, c.reason, c.message) for c in decision.conditions if c.type == "ScalingActive"
    )


def test_the_status_shows_the_mean_of_the_items() -> None:
    """In whole milli-values, rounded down, and without assumptions for missing pods."""
    decision = first(scale_of(*RUNNING), items(a=100, b=100, c=101))
    assert decision.current == (100_333,)
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
    decision = decide(HPA, scale_of(*scaled, replicas=4), (answer,), history, 20)
    assert (decision.replicas, decision.current, decision.history) == (4, (None,), history)
    message = f"the HPA was unable to compute the replica count: {cause}"
    assert active(decision) == ("False", "FailedGetPodsMetric", message)


@pytest.mark.parametrize("least", [0, 1])
def test_at_zero_replicas_the_metric_is_not_used(least: int) -> None:
    """Without pods there is no mean, whatever minReplicas is."""
    hpa = structs.replace(HPA, min_replicas=least)
    decision = decide(hpa, scale_of(), (items(a=100),), History(), 0)
    assert decision.replicas == 0
    assert active(decision)[1] == "ScalingDisabled"


def test_scaling_up_is_limited() -> None:
    """The limits are those for every metric: twice the replicas in 15 s."""
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
    """The numbers are in it."""
    assert first(scale_of(*RUNNING), answer).reason == reason
