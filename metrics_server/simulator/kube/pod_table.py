"""Pods as a meta.k8s.io/v1 Table, which `kubectl get` prints."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from metrics_server.simulator.kube.objects import Json, Object, metadata


def table_of(pods: Iterable[Object], meta: Object) -> Object:
    """Return a table of these pods, with the metadata of their list."""
    names = ("Name", "Ready", "Status", "Node")
    columns: list[Json] = [
        {"name": name, "type": "string", "format": "", "description": "", "priority": 0}
        for name in names
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": columns,
        "rows": [_row(pod) for pod in pods],
    }


class _ContainerStatus(Struct):
    ready: bool = False


class _PodStatus(Struct, rename="camel"):
    phase: str = "Unknown"
    container_statuses: list[_ContainerStatus] = []


class _PodSpec(Struct, rename="camel"):
    node_name: str = "<none>"
    containers: list[object] = []


class _PodMeta(Struct, rename="camel"):
    name: str
    deletion_timestamp: str | None = None


class _Pod(Struct):
    metadata: _PodMeta
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


def _row(obj: Object) -> Json:
    pod = msgspec.convert(obj, _Pod)
    ready = sum(status.ready for status in pod.status.container_statuses)
    return {
        "cells": [
            pod.metadata.name,
            f"{ready}/{len(pod.spec.containers)}",
            "Terminating" if pod.metadata.deletion_timestamp else pod.status.phase,
            pod.spec.node_name,
        ],
        "object": {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata(obj),
        },
    }
