"""Pods, as slim records: what it takes to select and to measure them, and nothing more."""

from collections.abc import Mapping

from msgspec import Struct


class Pod(Struct, frozen=True):
    """A pod, as a core/v1 Pod tells it.

    Attributes:
        namespace: metadata.namespace.
        name: metadata.name.
        labels: metadata.labels.
        node: spec.nodeName; "" until it is scheduled.
        phase: status.phase.
        ready: whether the condition Ready is True.
        terminating: whether metadata.deletionTimestamp is set.
        gpus: how many GPUs it requests, counted as Kubernetes counts a pod's effective requests.
    """

    namespace: str
    name: str
    labels: Mapping[str, str]
    node: str
    phase: str
    ready: bool
    terminating: bool
    gpus: int
