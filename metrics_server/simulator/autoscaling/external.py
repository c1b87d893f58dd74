"""The replicas that an External metric calls for."""

from math import ceil

from metrics_server.simulator.autoscaling.hpa import (
    TOLERANCE,
    Answer,
    ExternalMetric,
    MetricUnavailable,
    Proposal,
    Scale,
    Unable,
    quantity,
    tolerated,
)


def propose(
    namespace: str, metric: ExternalMetric, scale: Scale, answer: Answer
) -> Proposal | Unable:
    """Return the replicas that the sum of the items calls for."""
    if isinstance(answer, MetricUnavailable):
        cause = f"unable to fetch metrics from external metrics API: {answer.message}"
        return _unable(namespace, metric, cause)
    if not answer:
        return _unable(namespace, metric, "no metrics returned from external metrics API")
    usage = sum(item.value for item in answer)
    replicas, reason = _replicas(metric, scale, usage)
    per_pod = metric.target_type == "AverageValue" and scale.status_replicas > 0
    return Proposal(
        replicas,
        reason,
        current=ceil(usage / scale.status_replicas) if per_pod else usage,
        source=f"external metric {metric.name}({metric.selector})",
    )


def _replicas(metric: ExternalMetric, scale: Scale, usage: int) -> tuple[int, str]:
    shown, wanted = quantity(usage), quantity(metric.target)
    if metric.target_type == "Value":
        unchanged, measured, bound = scale.spec_replicas, f"{metric.name} is {shown}", wanted
        ratio = usage / metric.target
        replicas = ceil(ratio * scale.ready_pods if unchanged else ratio)
        sum_ = f"{scale.ready_pods} ready pods x {shown} / {wanted}"
    else:
        unchanged, measured = scale.status_replicas, f"{metric.name} sums to {shown}"
        bound = (
            f"{wanted} for each of {unchanged} pods" if unchanged != 1 else f"{wanted} for 1 pod"
        )
        ratio = usage / (metric.target * unchanged) if unchanged else 0
        replicas = ceil(usage / metric.target)
        sum_ = f"{shown} / {wanted}"
    if not unchanged:
        # There is nothing to compare with, so no tolerance applies.
        counted = f"{shown} / {wanted}, rounded up, is {replicas}"
        return replicas, f"{measured} with no replicas: {counted}"
    if tolerated(ratio):
        near = f"{measured}, within {TOLERANCE:.0%} of the target of {bound}: stays at {unchanged}"
        return unchanged, near
    direction = "above" if ratio > 1 else "below"
    return (
        replicas,
        f"{measured}, {direction} the target of {bound}: {sum_}, rounded up, is {replicas}",
    )


def _unable(namespace: str, metric: ExternalMetric, cause: str) -> Unable:
    name = f"{namespace}/{metric.name}/{metric.selector}"
    return Unable("FailedGetExternalMetric", f"unable to get external metric {name}: {cause}")
