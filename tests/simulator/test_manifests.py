"""The demo's objects are like a real cluster's."""

import pytest
from msgspec import structs

from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    Answer,
    ExternalMetric,
    History,
    HorizontalPodAutoscaler,
    Item,
    MetricUnavailable,
    PodsMetric,
    Scale,
    ScaledPod,
)
from metrics_server.simulator.kube.objects import Json, Object
from tests.support.schemas import validate

PODS = HorizontalPodAutoscaler(
    namespace="default", metrics=(PodsMetric("gpu_utilization", 70_000),), max_replicas=4
)
EXTERNAL = structs.replace(
    PODS, metrics=(ExternalMetric("gpu_utilization", "app=inference", "Value", 70_000),)
)
AVERAGE = structs.replace(
    PODS, metrics=(ExternalMetric("gpu_utilization_sum", "app=inference", "AverageValue", 70_000),)
)
SCALE = Scale(2, 2, (ScaledPod("a"), ScaledPod("b")))
ITEMS = (Item(91_000, "a"), Item(90_500, "b"))


def at(value: Json, *path: str | int) -> Json:
    """The value at a path in an object."""
    for step in path:
        if isinstance(step, int):
            assert isinstance(value, list)
            value = value[step]
        else:
            assert isinstance(value, dict)
            value = value[step]
    return value


def published(hpa: HorizontalPodAutoscaler, answer: Answer) -> Object:
    """The HPA after its first decision."""
    obj = manifests.horizontal_pod_autoscaler(hpa, 2, decide(hpa, SCALE, (answer,), History(), 0))
    validate(obj, "1.34")
    return obj


@pytest.mark.parametrize(
    ("hpa", "metric", "current"),
    [
        (
            PODS,
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "gpu_utilization"},
                    "target": {"type": "AverageValue", "averageValue": "70"},
                },
            },
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "gpu_utilization"},
                    "current": {"averageValue": "90750m"},
                },
            },
        ),
        (
            EXTERNAL,
            {
                "type": "External",
                "external": {
                    "metric": {
                        "name": "gpu_utilization",
                        "selector": {"matchLabels": {"app": "inference"}},
                    },
                    "target": {"type": "Value", "value": "70"},
                },
            },
            {
                "type": "External",
                "external": {
                    "metric": {
                        "name": "gpu_utilization",
                        "selector": {"matchLabels": {"app": "inference"}},
                    },
                    "current": {"value": "91"},
                },
            },
        ),
        (
            AVERAGE,
            {
                "type": "External",
                "external": {
                    "metric": {
                        "name": "gpu_utilization_sum",
                        "selector": {"matchLabels": {"app": "inference"}},
                    },
                    "target": {"type": "AverageValue", "averageValue": "70"},
                },
            },
            {
                "type": "External",
                "external": {
                    "metric": {
                        "name": "gpu_utilization_sum",
                        "selector": {"matchLabels": {"app": "inference"}},
                    },
                    "current": {"averageValue": "90750m"},
                },
            },
        ),
    ],
    ids=["Pods", "External, Value", "External, AverageValue"],
)
def test_an_hpa_has_its_metric_and_the_current_value(
    hpa: HorizontalPodAutoscaler, metric: Object, current: Object
) -> None:
    """In the fields that kubectl shows."""
    obj = published(hpa, ITEMS[:1] if hpa is EXTERNAL else ITEMS)
    assert at(obj, "spec", "metrics") == [metric]
    assert at(obj, "status", "currentMetrics") == [current]
    assert (at(obj, "status", "currentReplicas"), at(obj, "status", "desiredReplicas")) == (2, 3)


@pytest.mark.parametrize("hpa", [PODS, EXTERNAL], ids=["Pods", "External"])
def test_an_unknown_value_is_left_out(hpa: HorizontalPodAutoscaler) -> None:
    """As by the controller: kubectl shows <unknown>; an empty quantity is an error."""
    obj = published(hpa, MetricUnavailable("no"))
    assert at(obj, "status", "currentMetrics") == [{"type": ""}]
    assert at(obj, "status", "conditions", 0, "reason") != "ValidMetricFound"


def test_an_hpa_begins_without_a_status() -> None:
    """Until its first decision."""
    assert "status" not in manifests.horizontal_pod_autoscaler(PODS, 2, None)
