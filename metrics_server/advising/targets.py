"""Whether a metric's target is of the type and height that it needs."""

from collections.abc import Iterator, Mapping

from metrics_server.advising.findings import Finding, Reason, Setup
from metrics_server.advising.selected import Relation
from metrics_server.common.text import printable
from metrics_server.kube.autoscalers import Autoscaler, AutoscalerMetric
from metrics_server.kube.quantities import parse_quantity
from metrics_server.rules.model import Aggregation, MetricRule, TargetType

_MAX_SHOWN = 30
# --horizontal-pod-autoscaler-tolerance: within it, nothing is scaled.
_TOLERANCE = 0.1

_KINDS: Mapping[Aggregation, tuple[str, str]] = {
    "avg": ("a mean over pods", "mean"),
    "max": ("the maximum of the pods", "maximum"),
    "min": ("the minimum of the pods", "minimum"),
    "p95": ("a percentile of the pods", "percentile"),
    "sum": ("a sum over pods", "sum"),
}
_NO_SIMULATION = (
    "With fallback.chain: [last-known, error] in the server's configuration, the HPA keeps its "
    "replicas instead"
)


def about(metric: AutoscalerMetric) -> str:
    """Return what a metric is called in messages."""
    return f"{metric.type} metric {printable(metric.name, 80)}"


def target_findings(
    hpa: Autoscaler, metric: AutoscalerMetric, rule: MetricRule, setup: Setup, relation: Relation
) -> Iterator[Finding]:
    """Check the target of an External or Object metric.

    A Pods metric has only one type of target, which is right for it. Only External metrics can be
    simulated.

    Args:
        hpa: the HPA.
        metric: one of its metrics.
        rule: the metric's rule.
        setup: the configuration of the server.
        relation: whose pods the metric is about. With those of others, or with a value that does
            not depend on pods, either type may be meant.
    """
    used = _used(metric)
    if used is None:
        if metric.type == "Object":
            yield _mismatched(metric)
    elif used != rule.target and relation != "others" and rule.is_of_pods:
        mistyped = _mean_under_average_value if rule.target == "Value" else _sum_under_value
        yield mistyped(metric, rule, setup, passing=relation == "none")
    elif (
        metric.type == "External"
        and used == rule.target
        and setup.simulates
        and not metric.series
        and rule.unit == "percent"
        and rule.over_gpus != "sum"
    ):
        amount = metric.average_value or metric.value
        target = _positive(amount)
        if target is not None and hpa.max_replicas > hpa.min_replicas:
            yield from _simulation(metric, setup, target, relation)


def _used(metric: AutoscalerMetric) -> TargetType | None:
    """Return the type of target that the HPA uses; None if it finds no number.

    For External metrics it uses the field, for Object metrics the type
    (computeStatusForExternalMetric and computeStatusForObjectMetric in
    pkg/controller/podautoscaler/horizontal.go).
    """
    by_field = metric.type == "External"
    if metric.average_value and (by_field or metric.target_type == "AverageValue"):
        return "AverageValue"
    if metric.value and (by_field or metric.target_type == "Value"):
        return "Value"
    return None


def _mismatched(metric: AutoscalerMetric) -> Finding:
    has = "averageValue" if metric.average_value else "value"
    return _finding(
        metric,
        "TargetTypeMismatch",
        f"has a target of type: {printable(metric.target_type, _MAX_SHOWN)} with the field {has}. "
        "For Object metrics the HPA reads only the field of that type, which is not set, so it "
        "does not scale. Let type and field agree: value for Value, averageValue for AverageValue",
    )


def _mean_under_average_value(
    metric: AutoscalerMetric, rule: MetricRule, setup: Setup, *, passing: bool
) -> Finding:
    amount = printable(metric.average_value, _MAX_SHOWN)
    kind, short = _KINDS[rule.over_pods]
    by_field = "" if metric.target_type == "AverageValue" else " (by its field averageValue)"
    instead = [f'target: {{type: Value, value: "{amount}"}}']
    if rule.has_sum:
        instead.append(f"the metric {printable(metric.name, 80)}_sum with this target")
    if "Pods" in setup.types:
        instead.append("a metric of type: Pods")
    return _finding(
        metric,
        "MeanUnderAverageValue",
        f"is {kind}, but its target is an AverageValue{by_field}. The HPA computes ceil({short} / "
        f"target), whatever the number of pods: at the target itself, any number of pods becomes "
        f"ceil({amount} / {amount}) = 1, so the workload shrinks as it gets busy. Use "
        f"{', or '.join(instead)}",
        passing=passing,
    )


def _sum_under_value(
    metric: AutoscalerMetric, _: MetricRule, setup: Setup, *, passing: bool
) -> Finding:
    amount = printable(metric.value, _MAX_SHOWN)
    instead = [f'target: {{type: AverageValue, averageValue: "{amount}"}}']
    if metric.name.lower().endswith("_sum"):
        instead.append("the metric without _sum")
    if "Pods" in setup.types:
        instead.append("a metric of type: Pods")
    return _finding(
        metric,
        "SumUnderValue",
        "is a sum over pods, but its target is a Value. The HPA computes ceil(pods x sum / "
        f"target), and the sum itself grows with the pods: 4 pods at {amount} each become ceil(4 x "
        f"4 x {amount} / {amount}) = 16, and so on up to maxReplicas. Use {', or '.join(instead)}",
        passing=passing,
    )


def _simulation(
    metric: AutoscalerMetric, setup: Setup, target: float, relation: Relation
) -> Iterator[Finding]:
    """Check what a simulated value would do.

    For the pods that it scales, it represents their work, and moves them at most once
    (`measuring.fallback`). For other pods it stays the same, however far the HPA scales.
    """
    low, high = setup.simulated.base, setup.simulated.base + setup.simulated.spread
    pods_metric = ""
    if "Pods" in setup.types:
        pods_metric = ", or a metric of type: Pods, which is never simulated"
    grows, shrinks = target * (1 + _TOLERANCE), target * (1 - _TOLERANCE)
    shown = printable(metric.average_value or metric.value, _MAX_SHOWN)
    each = " for each pod" if metric.average_value else ""
    answers = (
        f"the server answers with a simulated value from {low:g} to {high:g}{each} {setup.since}"
    )
    if relation == "others" and not metric.average_value and (high > grows or low < shrinks):
        yield _finding(
            metric,
            "SimulationRunsAway",
            f"is about other pods than those this HPA scales. But {answers}, and that value stays "
            f"the same however far the HPA scales: unless it happens to be near the target of "
            f"{shown}, the workload goes to maxReplicas or to minReplicas. {_NO_SIMULATION}",
        )
    elif relation == "own" and low > grows:
        yield _finding(
            metric,
            "SimulationScalesUp",
            f"has a target of {shown}. But {answers}, which is always above that, so each such "
            f"outage scales the workload up once, to at most ceil(replicas x {high:g} / {shown}), "
            f"and never down. Use a target of {low:g} or more{pods_metric}. {_NO_SIMULATION}",
        )
    elif relation == "own" and high < shrinks:
        yield _finding(
            metric,
            "SimulationScalesDown",
            f"has a target of {shown}. But {answers}, which is always below that, so each such "
            f"outage scales the workload down once, to no less than ceil(replicas x {low:g} / "
            f"{shown}), and never up. {_NO_SIMULATION}",
        )


def _positive(amount: str) -> float | None:
    try:
        number = float(parse_quantity(amount))
    except ValueError:
        return None
    return number if number > 0 else None


def _finding(
    metric: AutoscalerMetric, reason: Reason, text: str, *, passing: bool = False
) -> Finding:
    return Finding(reason, about(metric), f"{about(metric)} {text}.", passing)
