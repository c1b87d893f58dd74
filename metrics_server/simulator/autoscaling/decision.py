"""One sync of the controller: from the metrics' answers to the new number of replicas."""

from collections.abc import Sequence

from msgspec import structs

from metrics_server.simulator.autoscaling import external, limits, pods
from metrics_server.simulator.autoscaling.hpa import (
    Answer,
    Condition,
    Decision,
    History,
    HorizontalPodAutoscaler,
    Metric,
    PodsMetric,
    Proposal,
    Scale,
    Unable,
)

_GOT_SCALE = Condition(
    "AbleToScale",
    "True",
    "SucceededGetScale",
    "the HPA controller was able to get the target's current scale",
)


def decide(
    autoscaler: HorizontalPodAutoscaler,
    scale: Scale,
    answers: Sequence[Answer],
    history: History,
    now: float,
) -> Decision:
    """Decide on the number of replicas, as the controller does at each sync.

    Args:
        autoscaler: the HPA's spec.
        scale: the state of the scale target.
        answers: for each metric, the items that the metrics API returned, or its error.
        history: the history of the last decision; an empty one at first.
        now: in seconds, on the clock of the history.
    """
    current = scale.spec_replicas
    if not history.recommendations:
        history = structs.replace(history, recommendations=((now, current),))
    outside = limits.outside_bounds(autoscaler, current, history)
    if outside is not None:
        replicas, reason, conditions = outside
        conditions = (_able(_GOT_SCALE, current, replicas), *conditions)
        conditions += limits.zero_condition(autoscaler, current, replicas)
        history = limits.remember(autoscaler, history, now, current, replicas)
        unknown = (None,) * len(autoscaler.metrics)
        return Decision(replicas, reason, unknown, conditions, history)
    proposals = [
        _propose(autoscaler.namespace, metric, scale, answer)
        for metric, answer in zip(autoscaler.metrics, answers, strict=True)
    ]
    values = tuple(None if isinstance(p, Unable) else p.current for p in proposals)
    proposal = _highest(proposals, current)
    if isinstance(proposal, Unable):
        return _unable(current, proposal, values, history)

    stabilized, able = limits.stabilize(autoscaler, proposal.replicas, current, history, now)
    replicas, limited = limits.limit(autoscaler, stabilized, current, history, now)
    reason = proposal.reason
    if stabilized != proposal.replicas:
        window = f"{autoscaler.stabilization_window:g} s"
        reason += f"; held at {stabilized}, the highest recommendation of the last {window}"
    if replicas != stabilized:
        reason += f"; limited to {replicas}: {limited.message}"
    active = Condition(
        "ScalingActive",
        "True",
        "ValidMetricFound",
        f"the HPA was able to successfully calculate a replica count from {proposal.source}",
    )
    oldest = now - autoscaler.stabilization_window
    recent = tuple(r for r in history.recommendations if r[0] > oldest)
    history = structs.replace(history, recommendations=(*recent, (now, proposal.replicas)))
    to_zero = limits.zero_condition(autoscaler, current, replicas)
    return Decision(
        replicas=replicas,
        reason=reason,
        current=values,
        conditions=(_able(able, current, replicas), active, limited, *to_zero),
        history=limits.remember(autoscaler, history, now, current, replicas),
    )


def _propose(namespace: str, metric: Metric, scale: Scale, answer: Answer) -> Proposal | Unable:
    if isinstance(metric, PodsMetric):
        return pods.propose(metric, scale, answer)
    return external.propose(namespace, metric, scale, answer)


def _highest(proposals: Sequence[Proposal | Unable], current: int) -> Proposal | Unable:
    """Return the highest proposal, or the first metric without one if that blocks scaling.

    It does if no metric has a proposal, or if the highest would remove replicas.
    """
    able = [p for p in proposals if isinstance(p, Proposal)]
    unable = [p for p in proposals if isinstance(p, Unable)]
    highest = max(able, key=lambda p: p.replicas, default=None)
    if unable and (highest is None or highest.replicas < current):
        return unable[0]
    assert highest is not None, "an HPA has at least one metric"  # noqa: S101 - for the types
    return highest


def _able(able: Condition, current: int, replicas: int) -> Condition:
    """Return the condition AbleToScale: this one, unless the number of replicas changes."""
    if replicas == current:
        return able
    message = f"the HPA controller was able to update the target scale to {replicas}"
    return Condition("AbleToScale", "True", "SucceededRescale", message)


def _unable(
    current: int, unable: Unable, values: tuple[int | None, ...], history: History
) -> Decision:
    """Keep the replicas, since a metric is unavailable."""
    message = f"the HPA was unable to compute the replica count: {unable.cause}"
    return Decision(
        replicas=current,
        reason=f"stays at {current}: {message}",
        current=values,
        conditions=(_GOT_SCALE, Condition("ScalingActive", "False", unable.reason, message)),
        history=history,
    )
