"""The cells of an object in the table that `kubectl get` prints."""

from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from metrics_server.simulator.kube.objects import Json, Object


class _ContainerStatus(Struct):
    ready: bool = False


class _PodStatus(Struct, rename="camel"):
    phase: str = "Unknown"
    container_statuses: list[_ContainerStatus] = []


class _PodSpec(Struct, rename="camel"):
    node_name: str = "<none>"
    containers: list[object] = []


class _Meta(Struct, rename="camel"):
    name: str
    creation_timestamp: datetime | None = None
    deletion_timestamp: str | None = None


class _Pod(Struct):
    metadata: _Meta
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


def pod_cells(obj: Object) -> list[Json]:
    """Return the cells of a Pod."""
    pod = msgspec.convert(obj, _Pod)
    ready = sum(status.ready for status in pod.status.container_statuses)
    return [
        pod.metadata.name,
        f"{ready}/{len(pod.spec.containers)}",
        "Terminating" if pod.metadata.deletion_timestamp else pod.status.phase,
        pod.spec.node_name,
    ]


class _Amount(Struct, rename="camel"):
    """A target or a current value."""

    value: str = ""
    average_value: str = ""


class _Source(Struct):
    target: _Amount = msgspec.field(default_factory=_Amount)
    current: _Amount = msgspec.field(default_factory=_Amount)


class _Metric(Struct):
    type: str = ""
    pods: _Source = msgspec.field(default_factory=_Source)
    external: _Source = msgspec.field(default_factory=_Source)


class _Reference(Struct):
    kind: str
    name: str


class _AutoscalerSpec(Struct, rename="camel"):
    scale_target_ref: _Reference
    max_replicas: int
    min_replicas: int = 1
    metrics: list[_Metric] = []


class _AutoscalerStatus(Struct, rename="camel"):
    current_replicas: int = 0
    current_metrics: list[_Metric] = []


class _Autoscaler(Struct):
    metadata: _Meta
    spec: _AutoscalerSpec
    status: _AutoscalerStatus = msgspec.field(default_factory=_AutoscalerStatus)


def autoscaler_cells(obj: Object) -> list[Json]:
    """Return the cells of a HorizontalPodAutoscaler."""
    hpa = msgspec.convert(obj, _Autoscaler)
    spec, status = hpa.spec, hpa.status
    currents = [*status.current_metrics, *([_Metric()] * len(spec.metrics))]
    targets = [_target(*pair) for pair in zip(spec.metrics, currents, strict=False)]
    return [
        hpa.metadata.name,
        f"{spec.scale_target_ref.kind}/{spec.scale_target_ref.name}",
        ", ".join(targets) or "<none>",
        str(spec.min_replicas),
        str(spec.max_replicas),
        str(status.current_replicas),
    ]


def _target(metric: _Metric, status: _Metric) -> str:
    """Return the current value and the target, as kubectl shows those of Pods and External."""
    if metric.type == "Pods":
        current, target, suffix = status.pods.current, metric.pods.target, ""
    elif metric.type == "External":
        current, target = status.external.current, metric.external.target
        suffix = " (avg)" if target.average_value else ""
    else:
        return "<unknown type>"
    now = current.average_value or current.value or "<unknown>"
    return f"{now}/{target.average_value or target.value}{suffix}"


class _DeploymentSpec(Struct):
    replicas: int = 1


class _DeploymentStatus(Struct, rename="camel"):
    ready_replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0


class _Deployment(Struct):
    metadata: _Meta
    spec: _DeploymentSpec = msgspec.field(default_factory=_DeploymentSpec)
    status: _DeploymentStatus = msgspec.field(default_factory=_DeploymentStatus)


def deployment_cells(obj: Object) -> list[Json]:
    """Return the cells of a Deployment."""
    deployment = msgspec.convert(obj, _Deployment)
    status = deployment.status
    return [
        deployment.metadata.name,
        f"{status.ready_replicas}/{deployment.spec.replicas}",
        str(status.updated_replicas),
        str(status.available_replicas),
        _age(deployment.metadata.creation_timestamp),
    ]


class _DaemonSetStatus(Struct, rename="camel"):
    desired_number_scheduled: int = 0
    current_number_scheduled: int = 0
    number_ready: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0


class _DaemonSet(Struct):
    metadata: _Meta
    status: _DaemonSetStatus = msgspec.field(default_factory=_DaemonSetStatus)


def daemon_set_cells(obj: Object) -> list[Json]:
    """Return the cells of a DaemonSet."""
    daemon_set = msgspec.convert(obj, _DaemonSet)
    status = daemon_set.status
    return [
        daemon_set.metadata.name,
        str(status.desired_number_scheduled),
        str(status.current_number_scheduled),
        str(status.number_ready),
        str(status.updated_number_scheduled),
        str(status.number_available),
        _age(daemon_set.metadata.creation_timestamp),
    ]


class _ServiceReference(Struct):
    namespace: str
    name: str


class _ApiServiceSpec(Struct):
    service: _ServiceReference | None = None


class _Condition(Struct):
    type: str
    status: str
    reason: str = ""


class _ApiServiceStatus(Struct):
    conditions: list[_Condition] = []


class _ApiService(Struct):
    metadata: _Meta
    spec: _ApiServiceSpec = msgspec.field(default_factory=_ApiServiceSpec)
    status: _ApiServiceStatus = msgspec.field(default_factory=_ApiServiceStatus)


def api_service_cells(obj: Object) -> list[Json]:
    """Return the cells of an APIService."""
    one = msgspec.convert(obj, _ApiService)
    service = one.spec.service
    found = (condition for condition in one.status.conditions if condition.type == "Available")
    available = next(found, _Condition("Available", "Unknown"))
    reason = f" ({available.reason})" if available.reason and available.status != "True" else ""
    return [
        one.metadata.name,
        "Local" if service is None else f"{service.namespace}/{service.name}",
        f"{available.status}{reason}",
        _age(one.metadata.creation_timestamp),
    ]


class _Involved(Struct):
    kind: str = ""
    name: str = ""


class _Event(Struct, rename="camel"):
    involved_object: _Involved = msgspec.field(default_factory=_Involved)
    last_timestamp: datetime | None = None
    type: str = ""
    reason: str = ""
    message: str = ""


def event_cells(obj: Object) -> list[Json]:
    """Return the cells of an Event."""
    event = msgspec.convert(obj, _Event)
    about = event.involved_object
    return [
        _age(event.last_timestamp),
        event.type,
        event.reason,
        f"{about.kind.lower()}/{about.name}",
        event.message.strip(),
    ]


_MINUTE, _HOUR = 60, 3600


def _age(since: datetime | None) -> str:
    """Return how long ago something was, with kubectl's units."""
    if since is None:
        return "<unknown>"
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < 3 * _HOUR:
        return f"{seconds // _MINUTE}m"
    return f"{seconds // _HOUR}h"
