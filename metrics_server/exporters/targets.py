"""Where the exporters of a node are: found by their Services' EndpointSlices, or listed."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from metrics_server.kube.endpoints import EndpointStore


class Targets(Protocol):
    """Tells the URLs to scrape for a node."""

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The URLs of the exporters of each of these nodes; none, where none is known."""
        ...


class DiscoveredTargets:
    """The exporters behind the configured Services, each at its own address.

    Never the Service's address: a request to that reaches the exporter of some node, not of the
    node that was meant.

    Args:
        endpoints: the ready addresses, by node.
        scheme: http or https.
        path: the path of the metrics page.
    """

    def __init__(self, endpoints: EndpointStore, scheme: str, path: str) -> None:
        self._endpoints = endpoints
        self._scheme = scheme
        self._path = path

    def __len__(self) -> int:
        return len(self._endpoints)

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The URLs of the exporters of each of these nodes; none, where none is ready."""
        return {
            node: tuple(
                f"{self._scheme}://{address}{self._path}" for address in self._addresses(node)
            )
            for node in nodes
        }

    def _addresses(self, node: str) -> Iterable[str]:
        for endpoint in self._endpoints.addresses(node):
            host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
            yield f"{host}:{endpoint.port}"


class StaticTargets:
    """Exporters listed by URL. Their nodes are not known, so each serves for every node."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._urls = tuple(urls)

    def __len__(self) -> int:
        return len(self._urls)

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """All URLs, for each node."""
        return dict.fromkeys(nodes, self._urls)
