"""A HorizontalPodAutoscaler in full, with its status and its events (pure)."""

from msgspec import Struct

from metrics_server.doctor.objects import Condition, Meta


class Reference(Struct, rename="camel"):
    """The scale target of an HPA."""

    kind: str = ""
    name: str = ""
    api_version: str = ""


class _Identifier(Struct):
    name: str = ""


class _Current(Struct, rename="camel"):
    value: str | int | None = None
    average_value: str | int | None = None
    average_utilization: int | None = None


class _Target(_Current, rename="camel"):
    type: str = ""


class MetricSource(Struct):
    """The metric of one type."""

    metric: _Identifier | None = None
    name: str = ""
    current: _Current | None = None
    target: _Target | None = None


class Metric(Struct, rename="camel"):
    """A metric in an HPA's spec or status."""

    type: str = ""
    external: MetricSource | None = None
    pods: MetricSource | None = None
    object: MetricSource | None = None
    resource: MetricSource | None = None
    container_resource: MetricSource | None = None

    @property
    def source(self) -> MetricSource | None:
        """The part for its type."""
        return self.external or self.pods or self.object or self.resource or self.container_resource

    @property
    def named(self) -> str:
        """Its name in messages."""
        source = self.source
        name = source and (source.metric.name if source.metric else source.name)
        return f"{self.type or 'unknown'} metric {name or 'without a name'}"


class Policy(Struct, rename="camel"):
    """A scaling policy."""

    type: str = ""
    value: int = 0
    period_seconds: int = 0


class Rules(Struct, rename="camel"):
    """How an HPA scales in one direction."""

    stabilization_window_seconds: int | None = None
    select_policy: str | None = None
    policies: list[Policy] | None = None
    tolerance: str | float | None = None


class Behavior(Struct, rename="camel"):
    """How an HPA scales."""

    scale_up: Rules | None = None
    scale_down: Rules | None = None


class HpaSpec(Struct, rename="camel"):
    """An HPA's spec."""

    scale_target_ref: Reference
    max_replicas: int = 1
    min_replicas: int | None = None
    metrics: list[Metric] | None = None
    behavior: Behavior | None = None


class HpaStatus(Struct, rename="camel"):
    """An HPA's status."""

    current_replicas: int = 0
    desired_replicas: int = 0
    current_metrics: list[Metric] | None = None
    conditions: list[Condition] | None = None

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of a type."""
        return next((one for one in self.conditions or () if one.type == kind), None)


class Hpa(Struct):
    """An autoscaling/v2 HorizontalPodAutoscaler."""

    metadata: Meta
    spec: HpaSpec
    status: HpaStatus | None = None

    @property
    def named(self) -> str:
        """Its name in messages."""
        return f"HPA {self.metadata.namespace}/{self.metadata.name}"

    @property
    def least(self) -> int:
        """Its minReplicas."""
        return 1 if self.spec.min_replicas is None else self.spec.min_replicas

    def is_read(self, metric: Metric) -> bool:
        """Whether the status shows a current value of a metric of its spec."""
        shown = (self.status and self.status.current_metrics) or ()
        return any(
            one.type == metric.type and one.named == metric.named and one.source is not None
            for one in shown
        )


class _Involved(Struct):
    kind: str = ""
    name: str = ""


class Event(Struct, rename="camel"):
    """A core/v1 Event."""

    involved_object: _Involved
    type: str = ""
    reason: str = ""
    message: str = ""
    last_timestamp: str | None = None
    count: int | None = None
