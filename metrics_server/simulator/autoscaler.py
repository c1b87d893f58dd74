"""The arithmetic of the HorizontalPodAutoscaler for an External metric, as pure functions.

It follows the podautoscaler controller of Kubernetes 1.36 (replica_calculator.go and
horizontal.go in pkg/controller/podautoscaler), for one metric and for a behavior that sets only
the scale-down stabilization window. As in Kubernetes, all metric values are integers in
thousandths ("milli-values"); `simulator.quantities` parses them from text.
"""

from math import ceil
from typing import Literal

from msgspec import Struct, structs

Status = Literal["True", "False"]

TOLERANCE = 0.1
"""--horizontal-pod-autoscaler-tolerance: a ratio this close to 1 changes nothing."""

SCALE_UP_PERIOD = 15.0
SCALE_UP_PERCENT = 100
SCALE_UP_PODS = 4
"""The default policies of autoscaling/v2 for behavior.scaleUp, of which the larger one applies.

An HPA without any `behavior` is limited to max(2 x replicas, 4) instead. The default policy for
scaleDown, 100 % in 15 s, forbids nothing, so it has no number here.
"""


class HorizontalPodAutoscaler(Struct, frozen=True, kw_only=True):
    """The spec of an autoscaling/v2 HorizontalPodAutoscaler with one External metric.

    Attributes:
        namespace: metadata.namespace.
        metric: the external metric's name.
        selector: the metric's label selector, as text.
        target_type: target.type. "Value" is for a mean, "AverageValue" for a sum over pods.
        target: target.value or target.averageValue, as a milli-value above 0.
        min_replicas: spec.minReplicas.
        max_replicas: spec.maxReplicas.
        stabilization_window: behavior.scaleDown.stabilizationWindowSeconds.
    """

    namespace: str
    metric: str
    selector: str
    target_type: Literal["Value", "AverageValue"]
    target: int
    max_replicas: int
    min_replicas: int = 1
    stabilization_window: float = 300


class Scale(Struct, frozen=True):
    """The state of the scale target.

    Attributes:
        spec_replicas: the requested number of replicas.
        status_replicas: the number of pods.
        ready_pods: how many pods are Running and Ready, terminating or not.
    """

    spec_replicas: int
    status_replicas: int
    ready_pods: int


class MetricUnavailable(Struct, frozen=True):
    """The external metrics API answered with an error.

    Attributes:
        message: the message of its Status.
    """

    message: str


class History(Struct, frozen=True):
    """The controller's record of earlier decisions; times are in seconds.

    Attributes:
        recommendations: (time, replicas) as computed from the metric, before any limit.
        scalings: (time, replicas added; negative if removed).
    """

    recommendations: tuple[tuple[float, int], ...] = ()
    scalings: tuple[tuple[float, int], ...] = ()


class Condition(Struct, frozen=True):
    """A HorizontalPodAutoscalerCondition, worded as the controller does."""

    type: Literal["AbleToScale", "ScalingActive", "ScalingLimited"]
    status: Status
    reason: str
    message: str


class Decision(Struct, frozen=True):
    """A decision of the controller.

    Attributes:
        replicas: the new number of replicas.
        reason: why, as one sentence.
        current: the milli-value that `kubectl get hpa` shows before the target; it shows None as
            <unknown>. For AverageValue it is the value per pod.
        conditions: the conditions that this decision sets.
        history: the history for the next decision.
    """

    replicas: int
    reason: str
    current: int | None
    conditions: tuple[Condition, ...]
    history: History


def decide(
    autoscaler: HorizontalPodAutoscaler,
    scale: Scale,
    answer: tuple[int, ...] | MetricUnavailable,
    history: History,
    now: float,
) -> Decision:
    """Decide on the number of replicas, as the controller does at each sync.

    Args:
        autoscaler: the HPA's spec.
        scale: the state of the scale target.
        answer: the milli-value of every item that the external metrics API returned, or its error.
        history: the history of the last decision; an empty one at first.
        now: in seconds, on the clock of the history.
    """
    current = scale.spec_replicas
    if not history.recommendations:
        history = History(((now, current),))
    outside = _outside_bounds(autoscaler, current)
    if outside is not None:
        replicas, reason, conditions = outside
        return Decision(
            replicas, reason, None, conditions, _remember(history, now, current, replicas)
        )
    if isinstance(answer, MetricUnavailable):
        cause = f"unable to fetch metrics from external metrics API: {answer.message}"
        return _unable(autoscaler, current, cause, history)
    if not answer:
        cause = "no metrics returned from external metrics API"
        return _unable(autoscaler, current, cause, history)

    usage = sum(answer)
    proposal, reason = _propose(autoscaler, scale, usage)
    stabilized, able = _stabilize(autoscaler, proposal, current, history, now)
    replicas, limited = _limit(autoscaler, stabilized, current, history, now)
    if stabilized != proposal:
        window = f"{autoscaler.stabilization_window:g} s"
        reason += f"; held at {stabilized}, the highest recommendation of the last {window}"
    if replicas != stabilized:
        reason += f"; limited to {replicas}: {limited.message}"
    active = Condition(
        "ScalingActive",
        "True",
        "ValidMetricFound",
        "the HPA was able to successfully calculate a replica count from external metric "
        f"{autoscaler.metric}({autoscaler.selector})",
    )
    per_pod = autoscaler.target_type == "AverageValue" and scale.status_replicas > 0
    oldest = now - autoscaler.stabilization_window
    recent = tuple(r for r in history.recommendations if r[0] > oldest)
    history = structs.replace(history, recommendations=(*recent, (now, proposal)))
    return Decision(
        replicas=replicas,
        reason=reason,
        current=ceil(usage / scale.status_replicas) if per_pod else usage,
        conditions=(able, active, limited),
        history=_remember(history, now, current, replicas),
    )


def quantity(milli_value: int) -> str:
    """Format a milli-value for people, in whole units or thousandths: "91", "37500m"."""
    whole, rest = divmod(milli_value, 1000)
    return f"{milli_value}m" if rest else str(whole)


def _propose(autoscaler: HorizontalPodAutoscaler, scale: Scale, usage: int) -> tuple[int, str]:
    """Return the number of replicas that the metric alone calls for, and why."""
    shown, wanted = quantity(usage), quantity(autoscaler.target)
    if autoscaler.target_type == "Value":
        ratio = usage / autoscaler.target
        unchanged = scale.spec_replicas
        proposal = ceil(ratio * scale.ready_pods if scale.spec_replicas else ratio)
        sum_ = f"{scale.ready_pods} ready pods x {shown} / {wanted}"
        measured, bound = f"{autoscaler.metric} is {shown}", wanted
    else:
        unchanged = scale.status_replicas
        ratio = usage / (autoscaler.target * unchanged) if unchanged else float("inf")
        proposal = ceil(usage / autoscaler.target)
        sum_ = f"{shown} / {wanted}"
        measured, bound = (
            f"{autoscaler.metric} sums to {shown}",
            f"{wanted} for each of {unchanged} pods",
        )
    is_tolerated = 1 - TOLERANCE <= ratio <= 1 + TOLERANCE
    if is_tolerated and (scale.spec_replicas or autoscaler.target_type == "AverageValue"):
        near = f"{measured}, within {TOLERANCE:.0%} of the target of {bound}: stays at {unchanged}"
        return unchanged, near
    direction = "above" if ratio > 1 else "below"
    return (
        proposal,
        f"{measured}, {direction} the target of {bound}: {sum_}, rounded up, is {proposal}",
    )


def _outside_bounds(
    autoscaler: HorizontalPodAutoscaler, current: int
) -> tuple[int, str, tuple[Condition, ...]] | None:
    """Return the decision that does not depend on the metric, if there is one."""
    if current == 0 and autoscaler.min_replicas > 0:
        message = "scaling is disabled since the replica count of the target is zero"
        return 0, message, (Condition("ScalingActive", "False", "ScalingDisabled", message),)
    if current > autoscaler.max_replicas:
        return autoscaler.max_replicas, "Current number of replicas above Spec.MaxReplicas", ()
    if current < autoscaler.min_replicas:
        return autoscaler.min_replicas, "Current number of replicas below Spec.MinReplicas", ()
    return None


def _stabilize(
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


def _limit(
    autoscaler: HorizontalPodAutoscaler, wanted: int, current: int, history: History, now: float
) -> tuple[int, Condition]:
    """Apply the bounds and the scale-up policies to the wanted number of replicas."""
    changed = sum(n for time, n in history.scalings if time > now - SCALE_UP_PERIOD)
    start = current - changed
    fastest = max(ceil(start * (1 + SCALE_UP_PERCENT / 100)), start + SCALE_UP_PODS, current)
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


def _remember(history: History, now: float, current: int, replicas: int) -> History:
    """Return the history with this change of replicas, and without those that no longer matter."""
    recent = tuple(s for s in history.scalings if s[0] > now - SCALE_UP_PERIOD)
    change = () if replicas == current else ((now, replicas - current),)
    return structs.replace(history, scalings=recent + change)


def _unable(
    autoscaler: HorizontalPodAutoscaler, current: int, cause: str, history: History
) -> Decision:
    """Keep the replicas, since the metric is unavailable."""
    message = (
        "the HPA was unable to compute the replica count: unable to get external metric "
        f"{autoscaler.namespace}/{autoscaler.metric}/{autoscaler.selector}: {cause}"
    )
    return Decision(
        replicas=current,
        reason=f"stays at {current}: {message}",
        current=None,
        conditions=(Condition("ScalingActive", "False", "FailedGetExternalMetric", message),),
        history=history,
    )
