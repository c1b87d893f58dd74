"""The pods of an object that an HPA names: the label selector of a Deployment, Service, etc."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote

import msgspec
from msgspec import Struct

from metrics_server.common.lookups import SharedLookups
from metrics_server.common.text import printable
from metrics_server.errors import KubernetesError, NoObjectError, ObjectUnreadableError
from metrics_server.kube.label_selectors import LabelSelector
from metrics_server.kube.labels import Selector

_SECONDS = 5.0
# Selectors hardly ever change: those of Deployments and their like cannot.
_TTL_SECONDS = 10.0
_MAX_BYTES = 4 * 1024 * 1024
# How many of the client's connections it may use: reviews need some, whatever objects are asked
# for.
_MAX_UNDER_WAY = 16


class Kind(Struct, frozen=True):
    """A kind of object that selects pods.

    Attributes:
        resource: its plural with its group, as in the paths of custom.metrics.k8s.io.
        kind: its kind.
        api_version: the version read, as in a path.
    """

    resource: str
    kind: str
    api_version: str

    @property
    def collection(self) -> str:
        """The path of the API up to the namespace."""
        return f"/{'apis' if '/' in self.api_version else 'api'}/{self.api_version}/namespaces"


KINDS: Mapping[str, Kind] = {
    one.resource: one
    for one in (
        Kind("deployments.apps", "Deployment", "apps/v1"),
        Kind("statefulsets.apps", "StatefulSet", "apps/v1"),
        Kind("replicasets.apps", "ReplicaSet", "apps/v1"),
        Kind("jobs.batch", "Job", "batch/v1"),
        Kind("services", "Service", "v1"),
    )
}
"""The kinds that can be read, by resource."""


class Kubernetes(Protocol):
    """The method of `kube.client.KubernetesClient` that is needed here."""

    async def get(self, path: str, query: Mapping[str, str], *, timeout: float) -> bytes:  # noqa: ASYNC109 - as in the client
        """Return the body of the answer to a GET, or raise a KubernetesError."""
        ...


class _Spec(Struct):
    selector: LabelSelector | None = None


class _Workload(Struct):
    spec: _Spec


class _ServiceSpec(Struct):
    selector: dict[str, str] | None = None


class _Service(Struct):
    spec: _ServiceSpec


class Workloads:
    """Reads the selectors of objects from the Kubernetes API, and keeps each for 10 s.

    Args:
        kubernetes: the client of the Kubernetes API.
    """

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._selectors: SharedLookups[tuple[str, str, str], Selector] = SharedLookups(
            ttl=_TTL_SECONDS, max_bytes=_MAX_BYTES
        )
        self._turns = asyncio.Semaphore(_MAX_UNDER_WAY)

    async def selector(self, kind: Kind, namespace: str, name: str) -> Selector:
        """Return the selector of an object's pods.

        Raises:
            NoObjectError: there is no such object, or it selects no pods.
            ObjectUnreadableError: it cannot be read.
        """
        return await self._selectors.get(
            (kind.resource, namespace, name), lambda: self._read(kind, namespace, name)
        )

    async def _read(self, kind: Kind, namespace: str, name: str) -> Selector:
        described = f'{kind.kind} "{printable(name)}" in namespace "{printable(namespace)}"'
        if {namespace, name} & {".", ".."}:  # as parts of a path they would lead elsewhere
            raise NoObjectError(f"there is no {described}")
        path = f"{kind.collection}/{quote(namespace, safe='')}"
        path += f"/{kind.resource.partition('.')[0]}/{quote(name, safe='')}"
        try:
            async with asyncio.timeout(_SECONDS), self._turns:
                body = await self._kubernetes.get(path, {}, timeout=_SECONDS)
            selector = _selector(kind, body)
        except TimeoutError:
            raise ObjectUnreadableError(
                f"the selector of the {described} cannot be read: too many objects are being read"
            ) from None
        except KubernetesError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                raise NoObjectError(f"there is no {described}") from None
            rights = (
                "; apply deployments/components/with-custom-metrics, which grants it"
                if error.code == HTTPStatus.FORBIDDEN
                else ""
            )
            raise ObjectUnreadableError(
                f"the selector of the {described} cannot be read: {error}{rights}"
            ) from error
        except (msgspec.DecodeError, ValueError) as error:
            raise ObjectUnreadableError(
                f"the selector of the {described} cannot be read: {error}"
            ) from error
        if not selector.requirements:
            raise NoObjectError(
                f"the {described} has no selector, so it has no pods to measure: name an object "
                "that selects pods"
            )
        return selector


def _selector(kind: Kind, body: bytes) -> Selector:
    if kind.kind == "Service":
        service = msgspec.json.decode(body, type=_Service)
        return LabelSelector(service.spec.selector).parsed()
    workload = msgspec.json.decode(body, type=_Workload)
    return (workload.spec.selector or LabelSelector()).parsed()
