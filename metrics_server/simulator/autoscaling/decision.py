"""One sync of the controller: from the metric's answer to the new number of replicas."""

from msgspec import structs

from metrics_server.simulator.autoscaling import external, limits, pods
from metrics_server.simulator.autoscaling.hpa import (
    Answer,
    Condition,
    Decision,
    History,
    HorizontalPodAutoscaler,
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
    answer: Answer,
    history: History,
    now: float,
) -> Decision:
    """Decide on the number of replicas, as the controller does at each sync.

    Args:
        autoscaler: the HPA's spec.
        scale: the state of the scale target.
        answer: the items that the metrics API returned, or its error.
        history: the history of the last decision; an empty one at first.
        now: in seconds, on the clock of the history.
    """
    current = scale.spec_replicas
    if not history.recommendations:
        history = History(((now, current),))
    outside = limits.outside_bounds(autoscaler, current)
    if outside is not None:
        replicas, reason, conditions = outside
        conditions = (_able(_GOT_SCALE, current, replicas), *conditions)
        history = limits.remember(history, now, current, replicas)
        return Decision(replicas, reason, None, conditions, history)
    proposal = _propose(autoscaler, scale, answer)
    if isinstance(proposal, Unable):
        return _unable(current, proposal, history)

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
    return Decision(
        replicas=replicas,
        reason=reason,
        current=proposal.current,
        conditions=(_able(able, current, replicas), active, limited),
        history=limits.remember(history, now, current, replicas),
    )


def _propose(
    autoscaler: HorizontalPodAutoscaler, scale: Scale, answer: Answer
) -> Proposal | Unable:
    metric = autoscaler.metric
    if isinstance(metric, PodsMetric):
        return pods.propose(metric, scale, answer)
    return external.propose(autoscaler.namespace, metric, scale, answer)


def _able(able: Condition, current: int, replicas: int) -> Condition:
    """Return the condition AbleToScale: this one, unless the number of replicas changes."""
    if replicas == current:
        return able
    message = f"the HPA controller was able to update the target scale to {replicas}"
    return Condition("AbleToScale", "True", "SucceededRescale", message)


def _unable(current: int, unable: Unable, history: History) -> Decision:
    """Keep the replicas, since the metric is unavailable."""
    message = f"the HPA was unable to compute the replica count: {unable.cause}"
    return Decision(
        replicas=current,
        reason=f"stays at {current}: {message}",
        current=None,
        conditions=(_GOT_SCALE, Condition("ScalingActive", "False", unable.reason, message)),
        history=history,
    )
