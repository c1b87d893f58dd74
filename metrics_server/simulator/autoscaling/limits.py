"""The limits on a change of replicas: the bounds, the stabilization window, the policies."""

from math import ceil

from msgspec import structs

from metrics_server.simulator.autoscaling.hpa import (
    Condition,
    ExternalMetric,
    History,
    HorizontalPodAutoscaler,
    Status,
)

SCALE_UP_PERIOD = 15.0
SCALE_UP_PERCENT = 100
SCALE_UP_PODS = 4
"""The default policies of autoscaling/v2 for behavior.scaleUp, of which the larger one applies.

An HPA without any `behavior` is limited to max(2 x replicas, 4) instead. The default policy for
scaleDown, 100 % in 15 s, forbids nothing, so it has no number here.
"""


def outside_bounds(
    autoscaler: HorizontalPodAutoscaler, current: int, history: History
) -> tuple[int, str, tuple[Condition, ...]] | None:
    """Return the decision that does not depend on the metrics, if there is one."""
    if current == 0:
        if history.scaled_to_zero and (autoscaler.min_replicas > 0 or has_external(autoscaler)):
            return None
        message = "scaling is disabled since the replica count of the target is zero"
        return 0, message, (Condition("ScalingActive", "False", "ScalingDisabled", message),)
    if current > autoscaler.max_replicas:
        return autoscaler.max_replicas, "Current number of replicas above Spec.MaxReplicas", ()
    if current < autoscaler.min_replicas:
        return autoscaler.min_replicas, "Current number of replicas below Spec.MinReplicas", ()
    return None


def has_external(autoscaler: HorizontalPodAutoscaler) -> bool:
    """Whether there is a metric that can have a value without pods."""
    return any(isinstance(metric, ExternalMetric) for metric in autoscaler.metrics)


def zero_condition(
    autoscaler: HorizontalPodAutoscaler, current: int, replicas: int
) -> tuple[Condition, ...]:
    """Return the condition ScaledToZero, which every change of replicas sets."""
    if replicas == current:
        return ()
    if replicas == 0 and has_external(autoscaler):
        message = "the HPA controller scaled the workload to zero"
        return (Condition("ScaledToZero", "True", "ScaledToZero", message),)
    message = "the HPA controller did not scale the workload to zero"
    return (Condition("ScaledToZero", "False", "NotScaledToZero", message),)


def stabilize(
    autoscaler: HorizontalPodAutoscaler, proposal: int, current: int, history: History, now: float
) -> tuple[int, Condition]:
    """Limit a scale-down to the highest recommendation in the window."""
    oldest = now - autoscaler.stabilization_window
    highest = max((n for time, n in history.recommendations if time > oldest), default=proposal)
    stabilized = proposal if proposal >= current else min(current, max(proposal, highest))
    if stabilized == proposal:
        message = "recommended size matches current size"
        return stabilized, Condition("AbleToScale", "True", "ReadyForNewScale", message)
    message = (
        "recent recommendations were higher than current one, "
        "applying the highest recent recommendation"
    )
    return stabilized, Condition("AbleToScale", "True", "ScaleDownStabilized", message)


def limit(
    autoscaler: HorizontalPodAutoscaler, wanted: int, current: int, history: History, now: float
) -> tuple[int, Condition]:
    """Apply the bounds and the scale-up policies to the wanted number of replicas."""
    changed = sum(n for time, n in history.scalings if time > now - SCALE_UP_PERIOD)
    start = current - changed
    fastest = max(_fastest(autoscaler, start), current)
    if wanted < autoscaler.min_replicas:
        replicas, reason = autoscaler.min_replicas, "TooFewReplicas"
        message = "the desired replica count is less than the minimum replica count"
    elif wanted > fastest and fastest < autoscaler.max_replicas:
        replicas, reason = fastest, "ScaleUpLimit"
        message = "the desired replica count is increasing faster than the maximum scale rate"
    elif wanted > autoscaler.max_replicas:
        replicas, reason = autoscaler.max_replicas, "TooManyReplicas"
        message = "the desired replica count is more than the maximum replica count"
    else:
        replicas, reason = wanted, "DesiredWithinRange"
        message = "the desired count is within the acceptable range"
    status: Status = "False" if replicas == wanted else "True"
    return replicas, Condition("ScalingLimited", status, reason, message)


def _fastest(autoscaler: HorizontalPodAutoscaler, start: int) -> int:
    """Return the most replicas that the scale-up policies allow within their period."""
    if autoscaler.scale_up_pods is not None:
        return start + autoscaler.scale_up_pods
    return max(ceil(start * (1 + SCALE_UP_PERCENT / 100)), start + SCALE_UP_PODS)


def remember(
    autoscaler: HorizontalPodAutoscaler, history: History, now: float, current: int, replicas: int
) -> History:
    """Return the history with this change of replicas, and without those that no longer matter."""
    recent = tuple(s for s in history.scalings if s[0] > now - SCALE_UP_PERIOD)
    if replicas == current:
        return structs.replace(history, scalings=recent)
    return structs.replace(
        history,
        scalings=(*recent, (now, replicas - current)),
        scaled_to_zero=replicas == 0 and has_external(autoscaler),
    )
