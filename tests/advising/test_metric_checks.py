"""Problems with an HPA's metric."""

import re
from typing import TYPE_CHECKING

import pytest

from metrics_server.advising.checks import check
from metrics_server.advising.findings import Setup
from tests.advising.manifests import hpa, rule, setup
from tests.support.hpa_metrics import AVERAGE, OWN, external, object_metric, pods_metric, reasons

if TYPE_CHECKING:
    from metrics_server.simulator.kube.objects import Json


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (external(), []),
        (external("GPU_Utilization"), []),
        (external("gpu_utilization_max"), []),
        (external("gpu_utilization_sum", target=AVERAGE), []),
        (external("DCGM_FI_PROF_SM_ACTIVE"), []),
        (external("DCGM_FI_PROF_SM_ACTIVE_sum", target=AVERAGE), []),
        (pods_metric(), []),
        (pods_metric("DCGM_FI_DEV_GPU_UTIL"), []),
        (object_metric(), []),
        (object_metric("gpu_utilization_sum", AVERAGE), []),
        (external(target=AVERAGE), ["MeanUnderAverageValue"]),
        (external("gpu_utilization_max", target=AVERAGE), ["MeanUnderAverageValue"]),
        (external("DCGM_FI_DEV_GPU_UTIL", target=AVERAGE), ["MeanUnderAverageValue"]),
        # External metrics: by the field.
        (
            external(target='target: {type: Value, averageValue: "70"}'),
            ["MeanUnderAverageValue"],
        ),
        (external(target='target: {type: AverageValue, value: "70"}'), []),
        (external("gpu_utilization_sum"), ["SumUnderValue"]),
        # Object metrics: by the type, as the other field is not read.
        (object_metric(target=AVERAGE), ["MeanUnderAverageValue"]),
        (object_metric("gpu_utilization_sum"), ["SumUnderValue"]),
        (
            object_metric(target='target: {type: Value, averageValue: "70"}'),
            ["TargetTypeMismatch"],
        ),
        (
            object_metric(target='target: {type: AverageValue, value: "70"}'),
            ["TargetTypeMismatch"],
        ),
        # For a Service, whose pods may be any, but mostly are the HPA's own.
        (
            object_metric(
                target=AVERAGE, described="{apiVersion: v1, kind: Service, name: inference}"
            ),
            ["MeanUnderAverageValue"],
        ),
        # One replica per 70 % of another Deployment is fine.
        (
            object_metric(
                target=AVERAGE, described="{apiVersion: apps/v1, kind: Deployment, name: other}"
            ),
            [],
        ),
        (external("gpu_utilisation"), ["MetricNameUnknown"]),
        (external("gpu-utilization"), ["MetricNameUnknown"]),
        (external("gpu_utilization_avg"), ["MetricNameUnknown"]),
        (pods_metric("DCGM_FI_DEV_GPU_UTILS"), ["MetricNameUnknown"]),
        (object_metric("gpu_memory_usage"), ["MetricNameUnknown"]),
        # Other servers' metrics.
        (external("cpu_utilization"), []),
        (external("s0-prometheus-gpu_utilization"), []),
        (external("gpu_requests_per_second"), []),
        (external("kubernetes.io|container|accelerator|duty_cycle"), []),
        (pods_metric("http_requests"), []),
        (external('""'), []),
        ("- {type: Resource, resource: {name: cpu, target: {type: Utilization}}}", []),
        (
            external("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"),
            ["MetricIsCounter"],
        ),
        (pods_metric("DCGM_FI_DEV_XID_ERRORS_TOTAL"), ["MetricIsCounter"]),
        # Several metrics, each checked separately.
        (
            external(target=AVERAGE) + "\n" + external("gpu_utilization_sum"),
            ["MeanUnderAverageValue", "SumUnderValue"],
        ),
        (external(target=AVERAGE) + "\n" + external(target=AVERAGE), ["MeanUnderAverageValue"]),
    ],
)
def test_what_is_wrong_with_a_metric(metrics: str, expected: list[str]) -> None:
    """Names and types of targets; a working HPA has no findings."""
    found = check(hpa(metrics), OWN, setup())
    assert reasons(found) == expected
    assert not any(one.passing for one in found)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ("External", ["MeanUnderAverageValue"]),
        ("Pods Object", ["SumUnderValue", "MetricNameUnknown"]),
        ("", []),
    ],
)
def test_metrics_of_an_api_that_is_off_are_somebody_elses(types: str, expected: list[str]) -> None:
    """KEDA may own the external metrics API, prometheus-adapter the custom one."""
    metrics = "\n".join(
        [
            external(target=AVERAGE),
            object_metric("gpu_utilization_sum"),
            pods_metric("gpu_utilisation"),
        ]
    )
    found = check(hpa(metrics), OWN, setup(types=types))
    assert reasons(found) == expected
    # Nor is it advised to use one.
    assert ("type: Pods" in "".join(one.message for one in found)) is ("Pods" in types)


@pytest.mark.parametrize("name", ["gpu_utilisation", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"])
def test_a_metric_that_the_hpa_can_read_is_somebody_elses(name: str) -> None:
    """The HPA's status shows its value, so another server has a metric of that name."""
    source: dict[str, Json] = {"metric": {"name": name}, "current": {"averageValue": "3"}}
    for kind, expected in (("Pods", 0), ("Object", 1)):
        current: list[Json] = [{"type": ""}, {"type": kind, kind.lower(): source}]
        read = hpa(pods_metric(name), status={"currentReplicas": 3, "currentMetrics": current})
        assert len(check(read, OWN, setup())) == expected


def rule_sum() -> Setup:
    """A custom sum, whose name does not say that it is one."""
    return setup(rule(name="gpu_load", overPods="sum"))


@pytest.mark.parametrize(
    ("metrics", "config", "words"),
    [
        (
            external(target=AVERAGE),
            setup(),
            (
                "External metric gpu_utilization is a mean over pods, but its target is an "
                "AverageValue. The HPA computes ceil(mean / target), whatever the number of pods: "
                "at the target itself, any number of pods becomes ceil(70 / 70) = 1, so the "
                'workload shrinks as it gets busy. Use target: {type: Value, value: "70"}, or the '
                "metric gpu_utilization_sum with this target, or a metric of type: Pods."
            ),
        ),
        (
            external(target='target: {type: Value, averageValue: "70"}'),
            setup(),
            "an AverageValue (by its field averageValue).",
        ),
        (
            external("gpu_utilization_max", target=AVERAGE),
            setup(types="External"),
            'is the maximum of the pods, but … Use target: {type: Value, value: "70"}.',
        ),
        (
            external("gpu_utilization_sum"),
            setup(),
            (
                "4 pods at 70 each become ceil(4 x 4 x 70 / 70) = 16, and so on up to maxReplicas. "
                'Use target: {type: AverageValue, averageValue: "70"}, or the metric without _sum, '
                "or a metric of type: Pods."
            ),
        ),
        (
            external("gpu_load"),
            setup(rule(name="gpu_load", overPods="sum"), types="External"),
            'Use target: {type: AverageValue, averageValue: "70"}.',
        ),
        (
            object_metric(target='target: {type: Value, averageValue: "70"}'),
            setup(),
            (
                "has a target of type: Value with the field averageValue. For Object metrics the "
                "HPA reads only the field of that type, which is not set, so it does not scale."
            ),
        ),
        (
            external("gpu_utilisation"),
            setup(),
            "there is no metric of that name, … The nearest name",
        ),
        (
            external("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"),
            setup(),
            (
                'External metric "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" is a counter: it only ever '
                "grows, and replicas scaled on it would only grow with it; ask for gpu_power_usage."
            ),
        ),
    ],
)
def test_messages_say_what_why_and_what_to_do(metrics: str, config: Setup, words: str) -> None:
    """They are for readers of `kubectl describe hpa`."""
    (found,) = check(hpa(metrics), OWN, config)
    assert re.search(re.escape(words).replace("…", ".*"), found.message), found.message
