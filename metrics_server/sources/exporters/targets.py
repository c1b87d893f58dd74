"""Where the exporters of a node are: found by their Services' EndpointSlices, or listed."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from metrics_server.kube.endpoints import Endpoint, EndpointStore, ServiceRef
from metrics_server.sources.pages.access import AccessKeeper


class Targets(Protocol):
    """The URLs to scrape for a node, and how."""

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The URLs of the exporters of each of these nodes; none, where none is known."""
        ...


class Way(Struct, frozen=True):
    """How the exporters behind a Service are asked.

    Attributes:
        scheme: http or https.
        path: the path of the metrics page.
        access: whom to trust, and what to show.
    """

    scheme: str
    path: str
    access: AccessKeeper


class DiscoveredTargets:
    """The exporters behind the configured Services, each at its own address.

    Never the Service's address: a request to that reaches the exporter of some node, not of the
    node that was meant.

    Args:
        endpoints: the ready addresses, by node.
        ways: how the exporters behind each Service are asked.
        by_address: whether nodes are looked for by address where an endpoint does not name its.
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
        """The URLs of the exporters of each of these nodes; none, where none is ready."""
        self._follow()
        return {node: self._urls.get(node, ()) for node in nodes}

    def access(self, url: str) -> AccessKeeper:
        """How the exporters of this one's Service are reached.

        Raises:
            KeyError: there is no such exporter now.
        """
        self._follow()
        return self._access[url]

    def why_none(self) -> str:
        """The first endpoint of which it is not known which node it reports on."""
        unplaced = self._endpoints.unplaced()
        if not unplaced:
            return ""
        first = unplaced[0]
        told = f"an endpoint of Service {first.service}, {first.host}, has no nodeName"
        if len(unplaced) > 1:
            told += f" (nor do {len(unplaced) - 1} others)"
        if self._matched_by_address:
            return f"{told}, and its address does not belong to exactly one node"
        return f"{told}: set it in the EndpointSlice, or set exporters.matchNodesByAddress"

    def _follow(self) -> None:
        """Spell out the URLs again if an endpoint has changed."""
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
    """Exporters listed by URL. Their nodes are not known, so each serves for every node.

    Args:
        urls: their pages.
        access: whom to trust, and what to show.
    """

    def __init__(self, urls: Iterable[str], access: AccessKeeper | None = None) -> None:
        self._urls = tuple(urls)
        self._keeper = access or AccessKeeper()

    def __len__(self) -> int:
        return len(self._urls)

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """All URLs, for each node."""
        return dict.fromkeys(nodes, self._urls)

    def access(self, url: str) -> AccessKeeper:  # noqa: ARG002 - the same for all of them
        """How each of them is reached."""
        return self._keeper

    def why_none(self) -> str:
        """Nothing: each node has all of them."""
        return ""
