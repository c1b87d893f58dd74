"""The addresses of each node's exporters, from the EndpointSlices of their Services.

Whatever a slice contains, it is either decoded or rejected as a whole, and never raises later: one
bad endpoint must not affect the others.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from metrics_server.kube.nodes import NodeStore, parse_address

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_METRICS_PORT_NAMES = ("metrics", "gpu-metrics", "http")
_LAST_PORT = 65535
# The name of a pod or a namespace.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_UNKNOWN: Mapping[str, str] = {}


class ServiceRef(Struct, frozen=True):
    """A Service whose endpoints are exporters.

    Attributes:
        namespace: metadata.namespace.
        name: metadata.name.
        port: the name of the port that serves metrics; None to choose it by its usual names.
    """

    namespace: str
    name: str
    port: str | None = None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Endpoint(Struct, frozen=True):
    """One exporter.

    Attributes:
        node: the node that it runs on.
        host: its IP address, IPv4 or IPv6, without brackets.
        port: its port number.
        service: the Service that it belongs to; of several, the first in order.
    """

    node: str
    host: str
    port: int
    service: ServiceRef


class Unplaced(Struct, frozen=True):
    """A ready endpoint whose node is unknown.

    Attributes:
        service: the Service that it belongs to.
        host: its IP address.
    """

    service: ServiceRef
    host: str


class TargetRef(Struct, frozen=True):
    """The pod behind an endpoint, as a core/v1 ObjectReference."""

    namespace: str | None = None
    name: str | None = None

    def pod(self, namespace: str) -> tuple[str, str] | None:
        """Return the namespace and name of the pod, if these can be names.

        Kubernetes does not check them, and they become parts of paths and commands.

        Args:
            namespace: of the EndpointSlice.
        """
        pod = self.namespace or namespace, self.name or ""
        return pod if all(map(_NAME.fullmatch, pod)) else None


class _Port(Struct):
    # All may be null: https://kubernetes.io/docs/reference/kubernetes-api/discovery/endpoint-slice-v1/
    name: str | None = None
    port: int | None = None
    protocol: str | None = "TCP"


class _Conditions(Struct):
    ready: bool | None = None


class _Endpoint(Struct, rename="camel"):
    addresses: list[str | None] | None = None
    node_name: str | None = None
    conditions: _Conditions | None = None
    target_ref: TargetRef | None = None


class _Metadata(Struct):
    name: str
    namespace: str
    labels: dict[str, str | None] | None = None


class EndpointSlice(Struct, rename="camel"):
    """The fields of a discovery.k8s.io/v1 EndpointSlice that are needed here."""

    metadata: _Metadata
    address_type: str
    endpoints: list[_Endpoint | None] | None = None
    ports: list[_Port | None] | None = None


_decode = msgspec.json.Decoder(EndpointSlice).decode


def decode_endpoint_slice(raw: Raw | bytes) -> EndpointSlice:
    """Decode an EndpointSlice from JSON.

    Raises:
        msgspec.DecodeError: it is not an EndpointSlice.
    """
    return _decode(raw)


def service_selector(services: Iterable[ServiceRef]) -> str:
    """Return the label selector of the slices of all these Services, in any namespace."""
    names = sorted({service.name for service in services})
    return f"{SERVICE_NAME_LABEL} in ({','.join(names)})"


class EndpointStore:
    """The known exporters of each node.

    Args:
        services: the Services whose endpoints are exporters. Other slices are ignored.
        nodes: finds the node of an endpoint that does not name it, by its address; None to skip
            such endpoints.
    """

    def __init__(self, services: Iterable[ServiceRef], nodes: NodeStore | None = None) -> None:
        self._services = {(service.namespace, service.name): service for service in services}
        self._node_store = nodes
        self._slices: dict[tuple[str, str], EndpointSlice] = {}
        self._addresses = _UNKNOWN
        self._by_node: dict[str, tuple[Endpoint, ...]] | None = None
        self._unplaced: tuple[Unplaced, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.by_node().values()))

    def by_node(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """Return the ready exporters of each node: the same object until one changes."""
        # Built on demand: a rollout of the exporters changes the slices once per node.
        addresses = _UNKNOWN if self._node_store is None else self._node_store.by_address()
        if self._by_node is None or addresses is not self._addresses:
            self._addresses = addresses
            self._by_node, self._unplaced = self._read()
        return self._by_node

    def unplaced(self) -> Sequence[Unplaced]:
        """Return the ready endpoints whose nodes are unknown, in order."""
        self.by_node()
        return self._unplaced

    def replace(self, items: Iterable[EndpointSlice], namespace: str | None = None) -> None:
        """Replace all slices, of one namespace or of all."""
        others = {
            key: item
            for key, item in self._slices.items()
            if namespace is not None and key[0] != namespace
        }
        self._slices = others | {_key(item): item for item in items if self._service(item)}
        self._by_node = None

    def apply(self, kind: Literal["ADDED", "MODIFIED", "DELETED"], item: EndpointSlice) -> None:
        """Apply one change."""
        if kind != "DELETED" and self._service(item):
            self._slices[_key(item)] = item
        else:
            self._slices.pop(_key(item), None)
        self._by_node = None

    def _service(self, item: EndpointSlice) -> ServiceRef | None:
        name = (item.metadata.labels or {}).get(SERVICE_NAME_LABEL)
        return self._services.get((item.metadata.namespace, name or ""))

    def _read(self) -> tuple[dict[str, tuple[Endpoint, ...]], tuple[Unplaced, ...]]:
        nodes: dict[str, list[Endpoint]] = {}
        unplaced: list[Unplaced] = []
        seen: set[tuple[str | TargetRef, int]] = set()
        # IPv4 before IPv6: one is enough for a pod that has both.
        for item in sorted(self._slices.values(), key=lambda s: (s.address_type, *_key(s))):
            service = self._service(item)
            port = _metrics_port(item.ports or (), service.port if service else None)
            if service is None or port is None or item.address_type == "FQDN":
                continue
            for endpoint in item.endpoints or ():
                host = None if endpoint is None else _host(endpoint)
                if endpoint is None or host is None:
                    continue
                # A pod behind two Services, or with an IPv4 and an IPv6 address, is scraped once.
                names = {(who, port) for who in (host, _pod(endpoint)) if who}
                if names.isdisjoint(seen):
                    node = endpoint.node_name or self._addresses.get(host)
                    if node is None:
                        unplaced.append(Unplaced(service, host))
                        continue
                    nodes.setdefault(node, []).append(Endpoint(node, host, port, service))
                seen |= names
        return {node: tuple(endpoints) for node, endpoints in nodes.items()}, tuple(unplaced)


class NamespacedEndpoints:
    """The part of a store for the slices of one namespace.

    Args:
        store: the whole store.
        namespace: the namespace.
    """

    def __init__(self, store: EndpointStore, namespace: str) -> None:
        self._store = store
        self._namespace = namespace

    def replace(self, items: Iterable[EndpointSlice]) -> None:
        """Replace all slices of the namespace."""
        self._store.replace(items, self._namespace)

    def apply(self, kind: Literal["ADDED", "MODIFIED", "DELETED"], item: EndpointSlice) -> None:
        """Apply one change."""
        self._store.apply(kind, item)


def _key(item: EndpointSlice) -> tuple[str, str]:
    return item.metadata.namespace, item.metadata.name


def _host(endpoint: _Endpoint) -> str | None:
    """Return the address of an endpoint; None if it is not ready, or has no IP address."""
    if endpoint.conditions is not None and endpoint.conditions.ready is False:
        return None
    # "Clients are expected to use the first address."
    return parse_address((endpoint.addresses or ("",))[0] or "")


def _pod(endpoint: _Endpoint) -> TargetRef | None:
    """Return the pod behind an endpoint, if it names one."""
    pod = endpoint.target_ref
    return pod if pod is not None and pod.name else None


def _metrics_port(ports: Sequence[_Port | None], wanted: str | None) -> int | None:
    """Return the port that serves metrics: the wanted, a usual name, or the first."""
    usable = {
        port.name or "": port.port
        for port in ports
        if port is not None
        and port.port is not None
        and 0 < port.port <= _LAST_PORT
        and (port.protocol or "TCP") == "TCP"
    }
    if wanted is not None:
        return usable.get(wanted)
    named = next((usable[name] for name in _METRICS_PORT_NAMES if name in usable), None)
    return named if named is not None else next(iter(usable.values()), None)
