"""The replicas that a Pods metric calls for.

The controller lists the pods itself. A pod without an item damps the change, in both directions:
it counts as idle when the others call for more replicas, and as exactly at the target when they
call for fewer.
"""

from collections.abc import Iterable, Mapping
from math import ceil

from msgspec import Struct

from metrics_server.simulator.autoscaling.hpa import (
    TOLERANCE,
    Answer,
    MetricUnavailable,
    PodsMetric,
    Proposal,
    Scale,
    ScaledPod,
    Unable,
    tolerated,
)


class Groups(Struct, frozen=True):
    """Pods, by how the controller counts them for a Pods metric.

    Attributes:
        ignored: terminating or Failed; their items are dropped.
        unready: Pending; their items are dropped.
        missing: without an item.
        ready: how many are left. The condition Ready does not matter: it counts for CPU only.
    """

    ignored: frozenset[str]
    unready: frozenset[str]
    missing: frozenset[str]
    ready: int


def group(pods: Iterable[ScaledPod], described: Iterable[str]) -> Groups:
    """Group pods by the names of those that have an item."""
    pods, described = tuple(pods), frozenset(described)
    ignored = frozenset(p.name for p in pods if p.terminating or p.phase == "Failed")
    alive = [p for p in pods if p.name not in ignored]
    unready = frozenset(p.name for p in alive if p.phase == "Pending")
    started = [p.name for p in alive if p.name not in unready]
    missing = frozenset(started) - described
    return Groups(ignored, unready, missing, len(started) - len(missing))


def propose(metric: PodsMetric, scale: Scale, answer: Answer) -> Proposal | Unable:
    """Return the replicas that the mean of the items calls for."""
    if isinstance(answer, MetricUnavailable):
        cause = f"unable to fetch metrics from custom metrics API: {answer.message}"
        return _unable(f"unable to get metric {metric.name}: {cause}")
    if not answer:
        cause = "no metrics returned from custom metrics API"
        return _unable(f"unable to get metric {metric.name}: {cause}")
    if not scale.pods:
        return _unable("no pods returned by selector while calculating replica count")
    # Of several items for one pod, the last one counts.
    items = {item.described: item.value for item in answer}
    groups = group(scale.pods, items)
    # Items of pods that the selector does not match stay in.
    values = {
        name: value
        for name, value in items.items()
        if name not in groups.ignored and name not in groups.unready
    }
    if not values:
        return _unable("did not receive metrics for targeted pods (pods might be unready)")
    replicas, reason = _replicas(metric, scale.spec_replicas, groups, values)
    return Proposal(replicas, reason, _mean(values), source=f"pods metric {metric.name}")


def _replicas(
    metric: PodsMetric, current: int, groups: Groups, values: Mapping[str, int]
) -> tuple[int, str]:
    wanted, mean = _shown(metric.target), _mean(values)
    ratio = mean / metric.target
    rising = ratio > 1
    measured = f"{metric.name} averages {_shown(mean)} over {_pods(len(values))}"
    target = f"{'above' if rising else 'below'} the target of {wanted}"
    near = f"within {TOLERANCE:.0%} of the target of {wanted}: stays at {current}"

    gaps = groups.missing | groups.unready if rising else groups.missing
    if not gaps or ratio == 1:
        if tolerated(ratio):
            return current, f"{measured}, {near}"
        replicas = ceil(ratio * groups.ready)
        sum_ = f"{_pods(groups.ready)} x {_shown(mean)} / {wanted}"
        return replicas, f"{measured}, {target}: {sum_}, rounded up, is {replicas}"

    assumed = 0 if rising else metric.target
    filled = {**values, **dict.fromkeys(gaps, assumed)}
    mean = _mean(filled)
    ratio = mean / metric.target
    damped = (
        f"{measured}, {target}; with {_shown(assumed)} for {_pods(len(gaps))} without a value, "
        f"it averages {_shown(mean)} over {_pods(len(filled))}"
    )
    if tolerated(ratio):
        return current, f"{damped}, {near}"
    if rising != (ratio > 1):
        return current, f"{damped}, on the other side of the target: stays at {current}"
    replicas = ceil(ratio * len(filled))
    damped += f": {_pods(len(filled))} x {_shown(mean)} / {wanted}, rounded up, is {replicas}"
    if replicas < current if rising else replicas > current:
        return current, f"{damped}, which is in the opposite direction: stays at {current}"
    return replicas, damped


def _mean(values: Mapping[str, int]) -> int:
    """Return the mean in whole milli-values, rounded down."""
    return sum(values.values()) // len(values)


def _shown(milli_value: int) -> str:
    """Format a mean for people: "91", "73.57"."""
    return f"{milli_value / 1000:.2f}".rstrip("0").rstrip(".")


def _pods(count: int) -> str:
    return f"{count} pod" if count == 1 else f"{count} pods"


def _unable(cause: str) -> Unable:
    return Unable("FailedGetPodsMetric", cause)
