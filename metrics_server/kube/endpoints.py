"""Where the exporters of a node are, as the EndpointSlices of their Services tell it."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import Raw, Struct

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_METRICS_PORT_NAMES = ("metrics", "gpu-metrics", "http")


class ServiceRef(Struct, frozen=True):
    """A Service whose endpoints are exporters.

    Attributes:
        namespace: metadata.namespace.
        name: metadata.name.
        port: the name of the port that serves metrics; None where it goes without saying.
    """

    namespace: str
    name: str
    port: str | None = None


class Endpoint(Struct, frozen=True):
    """One exporter.

    Attributes:
        node: the node that it runs on.
        host: its IP address, IPv4 or IPv6, without brackets.
        port: the number of its port.
    """

    node: str
    host: str
    port: int


class TargetRef(Struct, frozen=True):
    """The pod behind an endpoint, as a core/v1 ObjectReference."""

    namespace: str = ""
    name: str = ""


class _Port(Struct):
    # All may be null: https://kubernetes.io/docs/reference/kubernetes-api/discovery/endpoint-slice-v1/
    name: str | None = None
    port: int | None = None
    protocol: str | None = "TCP"


class _Conditions(Struct):
    ready: bool | None = None


class _Endpoint(Struct, rename="camel"):
    addresses: list[str]
    node_name: str | None = None
    conditions: _Conditions | None = None
    target_ref: TargetRef | None = None


class _Metadata(Struct):
    name: str
    namespace: str
    labels: dict[str, str] | None = None


class EndpointSlice(Struct, rename="camel"):
    """The part of a discovery.k8s.io/v1 EndpointSlice that is needed here."""

    metadata: _Metadata
    address_type: str
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None


_decode = msgspec.json.Decoder(EndpointSlice).decode


def decode_endpoint_slice(raw: Raw | bytes) -> EndpointSlice:
    """An EndpointSlice from its JSON.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decode(raw)


def service_selector(services: Iterable[ServiceRef]) -> str:
    """The label selector of the slices of all these Services, in any namespace."""
    names = sorted({service.name for service in services})
    return f"{SERVICE_NAME_LABEL} in ({','.join(names)})"


class EndpointStore:
    """The exporters of each node, as far as they are known here.

    Args:
        services: whose endpoints are exporters. Slices of any other Service are passed over.
    """

    def __init__(self, services: Iterable[ServiceRef]) -> None:
        self._services = {(service.namespace, service.name): service for service in services}
        self._slices: dict[tuple[str, str], EndpointSlice] = {}
        self._nodes: dict[str, tuple[Endpoint, ...]] | None = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_node().values()))

    def addresses(self, node: str) -> tuple[Endpoint, ...]:
        """The exporters on a node that are ready; none where none is known."""
        return self._by_node().get(node, ())

    def replace(self, items: Iterable[EndpointSlice]) -> None:
        """Hold exactly these slices from now on."""
        self._slices = {_key(item): item for item in items if self._service(item)}
        self._nodes = None

    def apply(self, kind: Literal["ADDED", "MODIFIED", "DELETED"], item: EndpointSlice) -> None:
        """Take over one change."""
        if kind != "DELETED" and self._service(item):
            self._slices[_key(item)] = item
        else:
            self._slices.pop(_key(item), None)
        self._nodes = None

    def _service(self, item: EndpointSlice) -> ServiceRef | None:
        name = (item.metadata.labels or {}).get(SERVICE_NAME_LABEL, "")
        return self._services.get((item.metadata.namespace, name))

    def _by_node(self) -> dict[str, tuple[Endpoint, ...]]:
        # Made when asked for: a roll-out of the exporters changes the slices once a node.
        if self._nodes is None:
            self._nodes = self._read()
        return self._nodes

    def _read(self) -> dict[str, tuple[Endpoint, ...]]:
        nodes: dict[str, list[Endpoint]] = {}
        seen: set[tuple[str | TargetRef, int]] = set()
        # IPv4 before IPv6: of a pod that has both, one is enough.
        for item in sorted(self._slices.values(), key=lambda s: (s.address_type, *_key(s))):
            service = self._service(item)
            port = _metrics_port(item.ports or (), service.port if service else None)
            if port is None or item.address_type == "FQDN":
                continue
            for endpoint in item.endpoints or ():
                node, ready = endpoint.node_name, endpoint.conditions and endpoint.conditions.ready
                if node is None or ready is False:
                    continue
                host = endpoint.addresses[0]
                # A pod behind two Services, or with an IPv4 and an IPv6 address, is scraped once.
                names = {(who, port) for who in (host, endpoint.target_ref) if who}
                if names.isdisjoint(seen):
                    nodes.setdefault(node, []).append(Endpoint(node, host, port))
                seen |= names
        return {node: tuple(endpoints) for node, endpoints in nodes.items()}


def _key(item: EndpointSlice) -> tuple[str, str]:
    return item.metadata.namespace, item.metadata.name


def _metrics_port(ports: Sequence[_Port], wanted: str | None) -> int | None:
    """The port that serves metrics: the wanted, the only, the one so named, or the first."""
    usable = {
        port.name or "": port.port
        for port in ports
        if port.port is not None and (port.protocol or "TCP") == "TCP"
    }
    if wanted is not None:
        return usable.get(wanted)
    named = next((usable[name] for name in _METRICS_PORT_NAMES if name in usable), None)
    return named if named is not None else next(iter(usable.values()), None)
