"""Objects as a meta.k8s.io/v1 Table, which `kubectl get` prints."""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from metrics_server.simulator.kube.cells import (
    api_service_cells,
    autoscaler_cells,
    daemon_set_cells,
    deployment_cells,
    event_cells,
    pod_cells,
)
from metrics_server.simulator.kube.objects import (
    API_SERVICES,
    AUTOSCALERS,
    DAEMON_SETS,
    DEPLOYMENTS,
    EVENTS,
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


_LAYOUTS: Mapping[Resource, _Layout] = {
    API_SERVICES: _Layout(("Name", "Service", "Available", "Age"), api_service_cells),
    DAEMON_SETS: _Layout(
        ("Name", "Desired", "Current", "Ready", "Up-to-date", "Available", "Age"),
        daemon_set_cells,
    ),
    DEPLOYMENTS: _Layout(("Name", "Ready", "Up-to-date", "Available", "Age"), deployment_cells),
    EVENTS: _Layout(("Last Seen", "Type", "Reason", "Object", "Message"), event_cells),
    PODS: _Layout(("Name", "Ready", "Status", "Node"), pod_cells),
    AUTOSCALERS: _Layout(
        ("Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas"), autoscaler_cells
    ),
}
