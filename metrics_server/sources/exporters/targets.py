"""Finds the exporters of a node: through their Services' EndpointSlices, or in a static list."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from metrics_server.kube.endpoints import Endpoint, EndpointStore, ServiceRef
from metrics_server.sources.pages.access import AccessKeeper


class Targets(Protocol):
    """The URLs to scrape for each node, and how to reach them."""

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Return the URLs of each node's exporters; an empty tuple if none is known."""
        ...


class Way(Struct, frozen=True):
    """How to scrape the exporters behind a Service.

    Attributes:
        scheme: http or https.
        path: the path of the metrics page.
        access: the TLS settings and credentials.
    """

    scheme: str
    path: str
    access: AccessKeeper


class DiscoveredTargets:
    """The exporters behind the configured Services, each at its own address.

    Never the Service's address: a request to that reaches the exporter of an arbitrary node.

    Args:
        endpoints: the ready endpoints, by node.
        ways: how to scrape the exporters behind each Service.
        by_address: whether an endpoint without a node name is matched to a node by address.
    """

    def __init__(
        self, endpoints: EndpointStore, ways: Mapping[ServiceRef, Way], *, by_address: bool = False
    ) -> None:
        self._endpoints = endpoints
        self._ways = ways
        self._matched_by_address = by_address
        self._seen: Mapping[str, tuple[Endpoint, ...]] = {}
        self._urls: dict[str, tuple[str, ...]] = {}
        self._access: dict[str, AccessKeeper] = {}

    def __len__(self) -> int:
        return len(self._endpoints)

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Return the URLs of each node's exporters; an empty tuple if none is ready."""
        self._refresh()
        return {node: self._urls.get(node, ()) for node in nodes}

    def access(self, url: str) -> AccessKeeper:
        """Return how to reach the exporter at this URL.

        Raises:
            KeyError: there is no exporter at this URL now.
        """
        self._refresh()
        return self._access[url]

    def why_none(self) -> str:
        """Return a clause about the first endpoint whose node is not known; "" if there is none."""
        unplaced = self._endpoints.unplaced()
        if not unplaced:
            return ""
        first = unplaced[0]
        problem = f"an endpoint of Service {first.service}, {first.host}, has no nodeName"
        if len(unplaced) > 1:
            problem += f" (nor do {len(unplaced) - 1} others)"
        if self._matched_by_address:
            return f"{problem}, and its address does not belong to exactly one node"
        return f"{problem}: set it in the EndpointSlice, or set exporters.matchNodesByAddress"

    def _refresh(self) -> None:
        """Build the URLs again if an endpoint has changed."""
        by_node = self._endpoints.by_node()
        if by_node is self._seen:
            return
        self._seen = by_node
        self._urls, self._access = {}, {}
        for node, endpoints in by_node.items():
            urls: list[str] = []
            for endpoint in endpoints:
                way = self._ways[endpoint.service]
                host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
                urls.append(f"{way.scheme}://{host}:{endpoint.port}{way.path}")
                self._access[urls[-1]] = way.access
            self._urls[node] = tuple(urls)


class StaticTargets:
    """Exporters listed by URL. Their nodes are not known, so each is used for every node.

    Args:
        urls: their pages.
        access: the TLS settings and credentials.
    """

    def __init__(self, urls: Iterable[str], access: AccessKeeper | None = None) -> None:
        self._urls = tuple(urls)
        self._keeper = access or AccessKeeper()

    def __len__(self) -> int:
        return len(self._urls)

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Return all URLs for each node."""
        return dict.fromkeys(nodes, self._urls)

    def access(self, url: str) -> AccessKeeper:  # noqa: ARG002 - the same for all of them
        """Return how to reach each of them."""
        return self._keeper

    def why_none(self) -> str:
        """Return "": each node has all of them."""
        return ""
