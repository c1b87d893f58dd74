"""Where the exporters of a node are."""

import json
from collections.abc import Sequence

import pytest

from metrics_server.exporters.targets import DiscoveredTargets, StaticTargets
from metrics_server.kube.endpoints import EndpointStore, ServiceRef, decode_endpoint_slice

DCGM = ServiceRef("gpu-monitoring", "dcgm-exporter")
AMD = ServiceRef("kube-amd-gpu", "metrics-exporter")


def discovered(
    *slices: tuple[ServiceRef, str, Sequence[tuple[str, str]]],
    scheme: str = "http",
    path: str = "/metrics",
) -> DiscoveredTargets:
    """The targets of slices: each a Service, a kind of address, and (address, node) pairs."""
    store = EndpointStore([DCGM, AMD])
    store.replace(
        decode_endpoint_slice(
            json.dumps(
                {
                    "metadata": {
                        "name": f"slice-{number}",
                        "namespace": service.namespace,
                        "labels": {"kubernetes.io/service-name": service.name},
                    },
                    "addressType": kind,
                    "endpoints": [
                        {"addresses": [address], "nodeName": node} for address, node in endpoints
                    ],
                    "ports": [{"name": "metrics", "port": 9400 + number}],
                }
            ).encode()
        )
        for number, (service, kind, endpoints) in enumerate(slices)
    )
    return DiscoveredTargets(store, scheme, path)


def test_each_node_has_its_own() -> None:
    """Only the nodes that are asked for are told, each with the address of its exporter."""
    targets = discovered((DCGM, "IPv4", [("10.0.0.1", "n1"), ("10.0.0.2", "n2")]))
    assert targets.on_nodes(["n1"]) == {"n1": ("http://10.0.0.1:9400/metrics",)}
    assert targets.on_nodes(["n1", "n2"]) == {
        "n1": ("http://10.0.0.1:9400/metrics",),
        "n2": ("http://10.0.0.2:9400/metrics",),
    }


@pytest.mark.parametrize("node", ["n2", ""])
def test_a_node_without_exporter(node: str) -> None:
    """A node without an exporter, and no node at all, are there with none."""
    targets = discovered((DCGM, "IPv4", [("10.0.0.1", "n1")]))
    assert targets.on_nodes([node]) == {node: ()}


def test_a_node_with_two_exporters() -> None:
    """Exporters of two Services on one node are both scraped."""
    targets = discovered((DCGM, "IPv4", [("10.0.0.1", "n1")]), (AMD, "IPv4", [("10.0.0.9", "n1")]))
    assert targets.on_nodes(["n1"]) == {
        "n1": ("http://10.0.0.1:9400/metrics", "http://10.0.0.9:9401/metrics")
    }


def test_ipv6_has_brackets() -> None:
    """An IPv6 address is told apart from its port."""
    targets = discovered((DCGM, "IPv6", [("fd00::7", "n1")]))
    assert targets.on_nodes(["n1"]) == {"n1": ("http://[fd00::7]:9400/metrics",)}


def test_scheme_and_path_are_the_configured_ones() -> None:
    """The page can be behind TLS, and have another path."""
    targets = discovered((DCGM, "IPv4", [("10.0.0.1", "n1")]), scheme="https", path="/gpu/metrics")
    assert targets.on_nodes(["n1"]) == {"n1": ("https://10.0.0.1:9400/gpu/metrics",)}


def test_a_static_list_serves_for_every_node() -> None:
    """Listed exporters have no known node: each may be the one of any."""
    urls = ("http://10.0.0.1:9400/metrics", "http://gpu-2.example:9400/metrics")
    targets = StaticTargets(urls)
    assert targets.on_nodes(["n1", "n2", ""]) == {"n1": urls, "n2": urls, "": urls}
    assert targets.on_nodes([]) == {}
