"""Objects as a meta.k8s.io/v1 Table, which `kubectl get` prints."""

from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec import Struct

from metrics_server.simulator.kube.objects import (
    AUTOSCALERS,
    PODS,
    Json,
    Object,
    Resource,
    metadata,
)


class _Layout(Struct, frozen=True):
    """The columns of a resource, and how to fill them."""

    columns: tuple[str, ...]
    cells: Callable[[Object], list[Json]]


def has_table(resource: Resource) -> bool:
    """Whether there are columns for a resource."""
    return resource in _LAYOUTS


def table_of(resource: Resource, objects: Iterable[Object], meta: Object) -> Object:
    """Return a table of these objects, with the metadata of their list."""
    layout = _LAYOUTS[resource]
    columns: list[Json] = [
        {"name": name, "type": "string", "format": "", "description": "", "priority": 0}
        for name in layout.columns
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": columns,
        "rows": [
            {
                "cells": layout.cells(obj),
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata(obj),
                },
            }
            for obj in objects
        ],
    }


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
    deletion_timestamp: str | None = None


class _Pod(Struct):
    metadata: _Meta
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


def _pod_cells(obj: Object) -> list[Json]:
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


def _autoscaler_cells(obj: Object) -> list[Json]:
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


_LAYOUTS: Mapping[Resource, _Layout] = {
    PODS: _Layout(("Name", "Ready", "Status", "Node"), _pod_cells),
    AUTOSCALERS: _Layout(
        ("Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas"), _autoscaler_cells
    ),
}
