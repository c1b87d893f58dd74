"""The exporters that the server would find, from the configuration and EndpointSlices (pure)."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from metrics_server.config.sections import Config
from metrics_server.kube.endpoints import Endpoint, EndpointSlice, EndpointStore, ServiceRef
from metrics_server.sources.exporters.targets import DiscoveredTargets, Way
from metrics_server.sources.pages.access import AccessKeeper


class Exporter(Struct, frozen=True):
    """An exporter.

    Attributes:
        endpoint: where it is.
        url: the URL of its page, as the server reads it.
        pod: the namespace and name of its pod; empty if its EndpointSlice names none.
        path: the path of its page.
        scheme: http or https.
        has_credentials: whether the server sends credentials, which cannot be sent from here.
    """

    endpoint: Endpoint
    url: str
    pod: tuple[str, str] | None
    path: str
    scheme: str
    has_credentials: bool = False

    @property
    def named(self) -> str:
        """Its name in messages."""
        name = f"pod {self.pod[0]}/{self.pod[1]}" if self.pod else self.url
        return f"{name} on node {self.endpoint.node}"


class Found(Struct, frozen=True):
    """The exporters that the server would find.

    Attributes:
        exporters: the ready ones, by URL.
        targets: the same, as the server asks for them.
        unplaced: the addresses of ready endpoints whose node is not known.
        unready: the nodes of endpoints that are not ready, by their pods or addresses.
        services: how many of the configured Services have an EndpointSlice.
    """

    exporters: Mapping[str, Exporter]
    targets: DiscoveredTargets
    unplaced: tuple[str, ...]
    unready: Mapping[str, str]
    services: int


def ways_of(config: Config) -> Mapping[ServiceRef, Way]:
    """Return how the exporters behind each configured Service are read, without credentials."""
    exporters = config.exporters
    return {
        ServiceRef(one.namespace, one.name, one.port): Way(
            one.scheme or exporters.scheme, one.path or exporters.path, AccessKeeper()
        )
        for one in exporters.services
    }


def found_in(config: Config, slices: Iterable[EndpointSlice]) -> Found:
    """Return the exporters behind the configured Services (pure).

    Args:
        config: the configuration.
        slices: their EndpointSlices.
    """
    ways = ways_of(config)
    store = EndpointStore(ways)
    known = {(way.namespace, way.name) for way in ways}
    ours = [one for one in slices if _service(one) in known]
    store.replace(ours)
    targets = DiscoveredTargets(store, ways)
    # Exporters on the host's network share their node's address with others.
    pods: dict[tuple[str, int | None], tuple[str, str]] = {}
    unready: dict[str, str] = {}
    for item in ours:
        for endpoint in filter(None, item.endpoints or ()):
            target = endpoint.target_ref
            pod = None if target is None else target.pod(item.metadata.namespace)
            address = (endpoint.addresses or [None])[0] or ""
            if pod is not None:
                pods |= {(address, port.port): pod for port in filter(None, item.ports or ())}
            if endpoint.conditions is not None and endpoint.conditions.ready is False:
                named = address if pod is None else f"pod {pod[0]}/{pod[1]}"
                unready[named] = endpoint.node_name or ""
    has_credentials = config.exporters.auth.has_credentials or any(
        one.auth and one.auth.has_credentials for one in config.exporters.services
    )
    exporters: dict[str, Exporter] = {}
    for node, endpoints in sorted(store.by_node().items()):
        for one, url in zip(endpoints, targets.on_nodes([node])[node], strict=True):
            way = ways[one.service]
            exporters[url] = Exporter(
                one, url, pods.get((one.host, one.port)), way.path, way.scheme, has_credentials
            )
    return Found(
        exporters,
        targets,
        tuple(f"{one.host} of Service {one.service}" for one in store.unplaced()),
        unready,
        len({_service(one) for one in ours}),
    )


def _service(item: EndpointSlice) -> tuple[str, str]:
    name = (item.metadata.labels or {}).get("kubernetes.io/service-name") or ""
    return item.metadata.namespace, name
