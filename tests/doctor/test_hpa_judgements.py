"""Judgements about HPAs, on values: no cluster is needed."""

import json
from collections.abc import Sequence

import msgspec
import pytest

from metrics_server.advising.names import MetricNames
from metrics_server.config.rules import RuleConfig, rules_in_force
from metrics_server.doctor.checks import (
    hpa_events,
    hpa_metrics,
    nothing_happens,
    scale_to_zero,
)
from metrics_server.doctor.hpa import Event, Hpa
from metrics_server.doctor.reader import ReadHpa
from metrics_server.kube.autoscalers import autoscaler_decoder
from metrics_server.kube.pods import Pod
from metrics_server.simulator.kube.objects import Json, Object
from tests.doctor.judged import GATEWAY, INFERENCE, OTHER
from tests.doctor.scene import PODS_METRIC, hpa

RULES = rules_in_force((), gauges=True)
QUEUE = RuleConfig.model_validate(
    {"name": "work_queue_length", "query": 'sum(messages{queue="work"})', "overPods": "sum"}
)


def whole(metrics: str = PODS_METRIC, *, status: Object | None = None, **spec: Json) -> Hpa:
    """An HPA as the doctor reads it."""
    return msgspec.convert(hpa(metrics, status=status, **spec), Hpa)


def status(value: str = "40", *conditions: Object) -> Object:
    """An HPA's status with the value of its Pods metric."""
    current: Object = {"averageValue": value}
    metric: Object = {"metric": {"name": "gpu_utilization"}, "current": current}
    return {
        "currentReplicas": 2,
        "currentMetrics": [{"type": "Pods", "pods": metric}],
        "conditions": [*conditions],
    }


def condition(kind: str, reason: str, value: str = "True") -> Object:
    """A condition of an HPA."""
    return {"type": kind, "status": value, "reason": reason, "message": "as it is"}


@pytest.mark.parametrize(
    ("made", "note"),
    [
        (whole(status=status("75")), "is at 107% of its target, within the tolerance of 10%"),
        (whole(status=status("63")), "is at 90% of its target"),
        (whole(maxReplicas=1), "minReplicas and maxReplicas are both 1"),
        (
            whole(status=status("99", condition("ScalingLimited", "TooManyReplicas"))),
            "held by a limit (TooManyReplicas)",
        ),
        (
            whole(status=status("9", condition("AbleToScale", "ScaleDownStabilized"))),
            "it waits (ScaleDownStabilized)",
        ),
        (
            whole(behavior={"scaleDown": {"selectPolicy": "Disabled"}}),
            "behavior.scaleDown.selectPolicy is Disabled",
        ),
        (
            whole(behavior={"scaleUp": {"stabilizationWindowSeconds": 900}}),
            "behavior.scaleUp.stabilizationWindowSeconds is 900",
        ),
        (
            whole(
                behavior={
                    "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
                }
            ),
            "behavior.scaleUp.policies allow one pod in 60 s",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_explains_that_nothing_happens(made: Hpa, note: str) -> None:
    """It is a note, not a problem."""
    verdict = nothing_happens.judge(made)
    assert verdict.problems == ()
    assert [one for one in verdict.notes if note in one] == list(verdict.notes) != []


@pytest.mark.parametrize("tolerance", ["0", "0.05", "50m", 0.05])
def test_an_hpa_s_own_tolerance(tolerance: str | float) -> None:
    """It replaces the default."""
    behavior: Object = {"scaleUp": {"tolerance": tolerance}}
    assert nothing_happens.judge(whole(status=status("75"), behavior=behavior)).notes == ()


@pytest.mark.parametrize(
    ("metric", "selector", "comes_back"),
    [
        ("gpu_utilization", "app: inference", False),
        ("gpu_utilization", "", True),
        ("queue_length", "queue: inference", True),
        ("llm_requests_waiting", "app: gateway", True),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "app: inference", False),
        ("work_queue_length", "", True),
        ("work_queue_length", "app: gateway", True),
        # A question that selects no pods has no answer.
        ("work_queue_length", "app: inference", False),
    ],
)
@pytest.mark.parametrize("kind", ["External", "Object"])
@pytest.mark.parametrize("own", [(INFERENCE,), ()], ids=["running", "at 0"])
def test_what_brings_a_workload_back(
    metric: str,
    selector: str,
    *,
    comes_back: bool,
    kind: str,
    own: Sequence[Pod],
) -> None:
    """Another server's metric, or one of pods that remain; alike before and after it went to 0."""
    spec = f"metric: {{name: {metric}, selector: {{matchLabels: {{{selector}}}}}}}"
    if kind == "Object":
        spec += ", describedObject: {apiVersion: v1, kind: Namespace, name: default}"
    made = hpa(f"[{{type: {kind}, {kind.lower()}: {{{spec}}}}}]", minReplicas=0)
    read = ReadHpa(
        msgspec.convert(made, Hpa), autoscaler_decoder(lambda _: True)(json.dumps(made).encode())
    )
    names = MetricNames(rules_in_force([QUEUE], gauges=True))
    verdict = scale_to_zero.judge(read, [*own, OTHER, GATEWAY], names)
    assert (verdict.problems == ()) is comes_back


def test_events_and_inactive_hpas() -> None:
    """The latest Warning first; an HPA at 0 replicas is off, not broken."""
    events = [
        msgspec.convert(
            {
                "involvedObject": {},
                "type": kind,
                "reason": reason,
                "message": "m",
                "lastTimestamp": time,
            },
            Event,
        )
        for kind, reason, time in (
            ("Warning", "Old", "2026-11-26T08:00:00Z"),
            ("Normal", "Well", "2026-11-26T10:00:00Z"),
            ("Warning", "New", "2026-11-26T09:00:00Z"),
        )
    ]
    assert hpa_events.judge(events).notes == (
        "2026-11-26T09:00:00Z New: m",
        "2026-11-26T08:00:00Z Old: m",
    )
    off = whole(status=status("40", condition("ScalingActive", "ScalingDisabled", "False")))
    assert "0 replicas" in hpa_metrics.judge(off).skipped
    assert hpa_metrics.judge(whole(status={})).skipped
