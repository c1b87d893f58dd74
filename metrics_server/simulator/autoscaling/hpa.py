"""A HorizontalPodAutoscaler's inputs and its decision, as values."""

from typing import ClassVar, Literal

from msgspec import Struct

MetricType = Literal["Pods", "External"]
Status = Literal["True", "False"]

TOLERANCE = 0.1
"""--horizontal-pod-autoscaler-tolerance: a ratio this close to 1 changes nothing."""


class ExternalMetric(Struct, frozen=True):
    """A metric of type External.

    Attributes:
        name: the metric's name.
        selector: the metric's matchLabels, as text: "app=inference,tier=gpu".
        target_type: target.type. "Value" is for a mean, "AverageValue" for a sum over pods.
        target: target.value or target.averageValue, as a milli-value above 0.
    """

    name: str
    selector: str
    target_type: Literal["Value", "AverageValue"]
    target: int


class PodsMetric(Struct, frozen=True):
    """A metric of type Pods.

    It has no selector of pods: the controller sends the one of the scale target. The only target
    type is AverageValue.

    Attributes:
        name: the metric's name.
        target: target.averageValue, as a milli-value above 0.
        source: where its values are measured, which the API does not report.
    """

    name: str
    target: int
    source: Literal["exporters", "pods"] = "exporters"
    target_type: ClassVar[Literal["AverageValue"]] = "AverageValue"


Metric = ExternalMetric | PodsMetric


class HorizontalPodAutoscaler(Struct, frozen=True, kw_only=True):
    """The spec of an autoscaling/v2 HorizontalPodAutoscaler.

    Attributes:
        namespace: metadata.namespace.
        metrics: spec.metrics; at least one.
        min_replicas: spec.minReplicas. 0 takes an External metric.
        max_replicas: spec.maxReplicas.
        stabilization_window: behavior.scaleDown.stabilizationWindowSeconds.
        scale_up_pods: the value of the only policy of behavior.scaleUp, of type Pods in 15 s; None
            for the default policies.
    """

    namespace: str
    metrics: tuple[Metric, ...]
    max_replicas: int
    min_replicas: int = 1
    stabilization_window: float = 300
    scale_up_pods: int | None = None


class ScaledPod(Struct, frozen=True):
    """A pod that the scale target's selector matches.

    Attributes:
        name: metadata.name.
        phase: status.phase.
        ready: whether it is Ready.
        terminating: whether metadata.deletionTimestamp is set.
    """

    name: str
    phase: str = "Running"
    ready: bool = True
    terminating: bool = False


class Scale(Struct, frozen=True):
    """The state of the scale target.

    Attributes:
        spec_replicas: the requested number of replicas.
        status_replicas: status.replicas; terminating pods are not counted.
        pods: every pod that its selector matches.
    """

    spec_replicas: int
    status_replicas: int
    pods: tuple[ScaledPod, ...]

    @property
    def ready_pods(self) -> int:
        """How many pods are Running and Ready, terminating or not."""
        return sum(pod.ready and pod.phase == "Running" for pod in self.pods)


class Item(Struct, frozen=True):
    """One item of a metrics API's answer.

    Attributes:
        value: the milli-value.
        described: describedObject.name; external metrics have none.
    """

    value: int
    described: str = ""


class MetricUnavailable(Struct, frozen=True):
    """The metrics API answered with an error.

    Attributes:
        message: the message of its Status.
    """

    message: str


Answer = tuple[Item, ...] | MetricUnavailable


class Proposal(Struct, frozen=True):
    """The number of replicas that the metric alone calls for.

    Attributes:
        replicas: how many.
        reason: why, as one sentence.
        current: the milli-value that the status shows.
        source: the metric, as the controller names it.
    """

    replicas: int
    reason: str
    current: int
    source: str


class Unable(Struct, frozen=True):
    """The metric calls for no number of replicas.

    Attributes:
        reason: of the condition ScalingActive.
        cause: the end of its message.
    """

    reason: str
    cause: str


class History(Struct, frozen=True):
    """The controller's record of earlier decisions; times are in seconds.

    Attributes:
        recommendations: (time, replicas) as computed from the metric, before any limit.
        scalings: (time, replicas added; negative if removed).
        scaled_to_zero: whether the last change of replicas was the HPA's own to zero: the
            condition ScaledToZero in its status. It does not wake a workload that others scaled to
            zero.
    """

    recommendations: tuple[tuple[float, int], ...] = ()
    scalings: tuple[tuple[float, int], ...] = ()
    scaled_to_zero: bool = False


class Condition(Struct, frozen=True):
    """A HorizontalPodAutoscalerCondition, worded as the controller does."""

    type: Literal["AbleToScale", "ScalingActive", "ScalingLimited", "ScaledToZero"]
    status: Status
    reason: str
    message: str


class Decision(Struct, frozen=True):
    """A decision of the controller.

    Attributes:
        replicas: the new number of replicas.
        reason: why, as one sentence.
        current: for each metric, the milli-value that `kubectl get hpa` shows before the target;
            it shows None as <unknown>. For AverageValue it is the value per pod.
        conditions: the conditions that this decision sets.
        history: the history for the next decision.
    """

    replicas: int
    reason: str
    current: tuple[int | None, ...]
    conditions: tuple[Condition, ...]
    history: History


def quantity(milli_value: int) -> str:
    """Format a milli-value for people, in whole units or thousandths: "91", "37500m"."""
    whole, rest = divmod(milli_value, 1000)
    return f"{milli_value}m" if rest else str(whole)


def tolerated(ratio: float) -> bool:
    """Whether a ratio of usage to target is too close to 1 to change anything."""
    return 1 - TOLERANCE <= ratio <= 1 + TOLERANCE
