"""Pods as small records: only what is needed to select and measure them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from functools import lru_cache

import msgspec
from msgspec import Raw, Struct, field

from metrics_server.kube.labels import Selector
from metrics_server.kube.pod_endpoints import (
    EndpointAnnotations,
    PodEndpoint,
    pod_endpoint,
)
from metrics_server.kube.pod_requests import Container, effective_request
from metrics_server.rules.presets import GPU_RESOURCES, SHARED_SUFFIXES

GPU_FRACTION = "gpu-fraction"
"""The annotation that requests a fraction of a GPU from schedulers that support it."""

# How many resources of a pod without a GPU are kept by name.
_MAX_OTHER_RESOURCES = 4


class Pod(Struct, frozen=True, gc=False):
    """A pod, from a core/v1 Pod.

    Attributes:
        namespace: metadata.namespace.
        name: metadata.name.
        labels: metadata.labels.
        node: spec.nodeName; "" until it is scheduled.
        phase: status.phase.
        ready: whether the condition Ready is True.
        terminating: whether metadata.deletionTimestamp is set.
        gpus: how many GPUs it requests, by Kubernetes' rule for a pod's effective requests; each of
            its ResourceClaims counts as one more, as the pod does not say which device a claim is
            for.
        shareable: how many of these may share one GPU: ResourceClaims, and resources whose names
            mark them as shares of a GPU.
        other_resources: if it requests no GPU, the names of a few of the extended resources that
            it requests, for error messages; or `GPU_FRACTION`.
        created: metadata.creationTimestamp, in seconds since the epoch; 0 without one.
        workload: the kind and name of what owns it, such as "Deployment/web"; of a ReplicaSet, the
            Deployment or Rollout that made it. "" without an owner, or if it neither requests a GPU
            nor has a page that is needed.
        endpoint: where its own metrics page may be; None if that is not needed.
    """

    namespace: str
    name: str
    labels: Mapping[str, str]
    node: str
    phase: str
    ready: bool
    terminating: bool
    gpus: int
    shareable: int = 0
    other_resources: tuple[str, ...] = ()
    created: float = 0
    workload: str = ""
    endpoint: PodEndpoint | None = None


class _Annotations(EndpointAnnotations):
    # https://github.com/NVIDIA/KAI-Scheduler: a fraction of a GPU, or MiB of its memory.
    fraction: str = field(name=GPU_FRACTION, default="")
    memory: str = field(name="gpu-memory", default="")


class _Owner(Struct):
    kind: str
    name: str
    controller: bool | None = None


class _Metadata(Struct, rename="camel"):
    name: str
    namespace: str
    labels: dict[str, str] | None = None
    annotations: _Annotations | None = None
    owner_references: list[_Owner] | None = None
    deletion_timestamp: str | None = None
    creation_timestamp: datetime | None = None


class _Spec(Struct, rename="camel"):
    node_name: str = ""
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    resource_claims: list[Raw] | None = None
    host_network: bool = False


class _Condition(Struct):
    type: str
    status: str


class _Status(Struct, rename="camel"):
    phase: str = ""
    pod_ip: str = field(name="podIP", default="")
    conditions: list[_Condition] | None = None


class _Object(Struct):
    metadata: _Metadata
    spec: _Spec
    status: _Status


_decode_object = msgspec.json.Decoder(_Object).decode


def pod_decoder(
    gpu_resources: Sequence[str] = GPU_RESOURCES, *, endpoints: bool = False
) -> Callable[[Raw | bytes], Pod]:
    """Return a function that decodes a core/v1 Pod, from bytes of JSON.

    It raises a msgspec.DecodeError for anything but a Pod, and a ValueError for a bad quantity.

    Args:
        gpu_resources: shell patterns for the names of the resources that count as GPUs.
        endpoints: whether the pods' own metrics pages are needed too.
    """

    @lru_cache(maxsize=1024)
    def is_gpu(resource: str) -> bool:
        return any(fnmatchcase(resource, pattern) for pattern in gpu_resources)

    def decode(raw: Raw | bytes) -> Pod:
        pod = _decode_object(raw)
        meta, spec, status = pod.metadata, pod.spec, pod.status
        containers, init_containers = spec.containers or [], spec.init_containers or []
        requested = {
            name
            for container in (*containers, *init_containers)
            if container.resources
            for amounts in (container.resources.requests, container.resources.limits)
            for name in amounts or ()
        }
        claims = len(spec.resource_claims or ())
        requests = {
            name: effective_request(containers, init_containers, name)
            for name in requested
            if is_gpu(name)
        }
        gpus = sum(requests.values()) + claims
        return Pod(
            namespace=_shared(meta.namespace),
            name=meta.name,
            labels=_shared_labels(tuple(meta.labels.items())) if meta.labels else _NO_LABELS,
            node=_shared(spec.node_name),
            phase=_shared(status.phase),
            ready=any(c.type == "Ready" and c.status == "True" for c in status.conditions or ()),
            terminating=meta.deletion_timestamp is not None,
            gpus=gpus,
            shareable=claims
            + sum(n for name, n in requests.items() if name.endswith(SHARED_SUFFIXES)),
            other_resources=() if gpus else _extended(requested, is_gpu, meta.annotations),
            created=meta.creation_timestamp.timestamp() if meta.creation_timestamp else 0,
            workload=_workload(meta) if gpus or endpoints else "",
            endpoint=pod_endpoint(
                status.pod_ip,
                [
                    *containers,
                    *(one for one in init_containers if one.restart_policy == "Always"),
                ],
                meta.annotations,
                host_network=spec.host_network,
            )
            if endpoints
            else None,
        )

    return decode


def matching(pods: Sequence[Pod], selector: Selector) -> list[Pod]:
    """Return the pods whose labels a selector matches.

    The pods of one template share their labels, which are compared once for all of them.
    """
    known: dict[int, bool] = {}
    found: list[Pod] = []
    for pod in pods:
        matches = known.get(id(pod.labels))
        if matches is None:
            matches = known[id(pod.labels)] = selector.matches(pod.labels)
        if matches:
            found.append(pod)
    return found


# The label with the hash that a controller puts into the names of its ReplicaSets.
_HASHES = {"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"}


def _workload(meta: _Metadata) -> str:
    """Return the kind and name of what owns a pod; of a ReplicaSet, of what made it by a hash."""
    owner = next((one for one in meta.owner_references or () if one.controller), None)
    if owner is None:
        return ""
    if owner.kind == "ReplicaSet":
        for label, kind in _HASHES.items():
            suffix = f"-{(meta.labels or {}).get(label, '')}"
            if owner.name.endswith(suffix):
                return _shared(f"{kind}/{owner.name.removesuffix(suffix)}")
    return _shared(f"{owner.kind}/{owner.name}")


def _extended(
    requested: Iterable[str], is_gpu: Callable[[str], bool], annotations: _Annotations | None
) -> tuple[str, ...]:
    """Return the extended resources among those requested: their names contain a slash."""
    if annotations is not None and (annotations.fraction or annotations.memory):
        return (GPU_FRACTION,)
    names = [name for name in requested if "/" in name and not is_gpu(name)]
    return _shared_names(tuple(sorted(names)[:_MAX_OTHER_RESOURCES])) if names else ()


# Pods repeat their strings: all pods of one template share their labels, and all pods of a node its
# name. The caches are bounded, as names come and go over the lifetime of a cluster.
_NO_LABELS: Mapping[str, str] = {}


@lru_cache(maxsize=32_768)
def _shared(text: str) -> str:
    return text


@lru_cache(maxsize=1024)
def _shared_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_shared, names))


@lru_cache(maxsize=16_384)
def _shared_labels(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return {_shared(key): _shared(value) for key, value in items}
