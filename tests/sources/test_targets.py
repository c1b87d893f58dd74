"""The locations of a node's exporters."""

import json
from collections.abc import Sequence

import pytest

from metrics_server.kube.endpoints import (
    EndpointSlice,
    EndpointStore,
    ServiceRef,
    decode_endpoint_slice,
)
from metrics_server.kube.nodes import Node, NodeStore
from metrics_server.sources.exporters.targets import DiscoveredTargets, StaticTargets, Way
from metrics_server.sources.pages.access import AccessFiles, AccessKeeper

DCGM = ServiceRef("gpu-monitoring", "dcgm-exporter")
AMD = ServiceRef("kube-amd-gpu", "metrics-exporter")


def slice_of(
    number: int, service: ServiceRef, kind: str, endpoints: Sequence[tuple[str, str]]
) -> EndpointSlice:
    """A Service's slice: a kind of address, and (address, node) pairs; "" is no node."""
    return decode_endpoint_slice(
        json.dumps(
            {
                "metadata": {
                    "name": f"slice-{number}",
                    "namespace": service.namespace,
                    "labels": {"kubernetes.io/service-name": service.name},
                },
                "addressType": kind,
                "endpoints": [
                    {"addresses": [address], "nodeName": node or None}
                    for address, node in endpoints
                ],
                "ports": [{"name": "metrics", "port": 9400 + number}],
            }
        ).encode()
    )


def discovered(
    *slices: tuple[ServiceRef, str, Sequence[tuple[str, str]]],
    scheme: str = "http",
    path: str = "/metrics",
) -> DiscoveredTargets:
    """The targets of slices: each a Service, a kind of address, and (address, node) pairs."""
    store = EndpointStore([DCGM, AMD])
    store.replace([slice_of(number, *one) for number, one in enumerate(slices)])
    ways = {DCGM: Way(scheme, path, AccessKeeper()), AMD: Way("http", "/metrics", AccessKeeper())}
    return DiscoveredTargets(store, ways)


def test_each_node_has_its_own() -> None:
    """Only the requested nodes are returned, each with its exporter's address."""
    targets = discovered((DCGM, "IPv4", [("10.0.0.1", "n1"), ("10.0.0.2", "n2")]))
    assert targets.on_nodes(["n1"]) == {"n1": ("http://10.0.0.1:9400/metrics",)}
    assert targets.on_nodes(["n1", "n2"]) == {
        "n1": ("http://10.0.0.1:9400/metrics",),
        "n2": ("http://10.0.0.2:9400/metrics",),
    }


@pytest.mark.parametrize("node", ["n2", ""])
def test_a_node_without_exporter(node: str) -> None:
    """A node without an exporter, or no node at all, has an empty list."""
    targets = discovered((DCGM, "IPv4", [("10.0.0.1", "n1")]))
    assert targets.on_nodes([node]) == {node: ()}


def test_a_node_with_two_exporters() -> None:
    """Exporters of two Services on one node are both scraped."""
    targets = discovered((DCGM, "IPv4", [("10.0.0.1", "n1")]), (AMD, "IPv4", [("10.0.0.9", "n1")]))
    assert targets.on_nodes(["n1"]) == {
        "n1": ("http://10.0.0.1:9400/metrics", "http://10.0.0.9:9401/metrics")
    }


def test_ipv6_has_brackets() -> None:
    """An IPv6 address is distinguished from its port."""
    targets = discovered((DCGM, "IPv6", [("fd00::7", "n1")]))
    assert targets.on_nodes(["n1"]) == {"n1": ("http://[fd00::7]:9400/metrics",)}


def test_scheme_and_path_are_the_configured_ones() -> None:
    """The page can be behind TLS, and have another path."""
    targets = discovered((DCGM, "IPv4", [("10.0.0.1", "n1")]), scheme="https", path="/gpu/metrics")
    assert targets.on_nodes(["n1"]) == {"n1": ("https://10.0.0.1:9400/gpu/metrics",)}


def test_each_service_is_scraped_in_its_own_way() -> None:
    """Scheme, path and credentials are those of the address's Service."""
    store = EndpointStore([DCGM, AMD])
    ours, theirs = AccessKeeper(AccessFiles(username="ours")), AccessKeeper()
    ways = {DCGM: Way("https", "/gpu", ours), AMD: Way("http", "/metrics", theirs)}
    targets = DiscoveredTargets(store, ways)
    assert targets.on_nodes(["n1"]) == {"n1": ()}
    store.replace(
        [
            slice_of(0, DCGM, "IPv4", [("10.0.0.1", "n1")]),
            slice_of(1, AMD, "IPv4", [("10.0.0.9", "n1")]),
        ]
    )
    urls = ("https://10.0.0.1:9400/gpu", "http://10.0.0.9:9401/metrics")
    assert targets.on_nodes(["n1"]) == {"n1": urls}
    assert [targets.access(url) for url in urls] == [ours, theirs]
    store.replace([])
    assert targets.on_nodes(["n1"]) == {"n1": ()}
    with pytest.raises(KeyError):
        targets.access(urls[0])


def test_an_endpoint_without_a_node_is_reported() -> None:
    """The reason is an endpoint without a node's name; otherwise there is none."""
    assert discovered((DCGM, "IPv4", [("10.0.0.1", "n1")])).why_none() == ""
    one = discovered((DCGM, "IPv4", [("10.0.0.1", ""), ("10.0.0.2", "n2")]))
    assert one.why_none() == (
        "an endpoint of Service gpu-monitoring/dcgm-exporter, 10.0.0.1, has no nodeName: set it "
        "in the EndpointSlice, or set exporters.matchNodesByAddress"
    )
    three = discovered((DCGM, "IPv4", [("10.0.0.1", ""), ("10.0.0.2", ""), ("10.0.0.3", "")]))
    assert "10.0.0.1, has no nodeName (nor do 2 others): set it" in three.why_none()


def test_an_address_of_no_node_is_reported() -> None:
    """If nodes are matched by address, the advice is different."""
    nodes = NodeStore()
    store = EndpointStore([DCGM], nodes)
    targets = DiscoveredTargets(
        store, {DCGM: Way("http", "/metrics", AccessKeeper())}, by_address=True
    )
    store.replace([slice_of(0, DCGM, "IPv4", [("10.0.0.1", "")])])
    assert targets.why_none().endswith(
        "has no nodeName, and its address does not belong to exactly one node"
    )
    nodes.replace([Node("n1", ("10.0.0.1",))])
    assert targets.on_nodes(["n1"]) == {"n1": ("http://10.0.0.1:9400/metrics",)}
    assert targets.why_none() == ""


def test_a_static_list_serves_for_every_node() -> None:
    """Listed exporters have no known node: each may be on any."""
    urls = ("http://10.0.0.1:9400/metrics", "http://gpu-2.example:9400/metrics")
    targets = StaticTargets(urls)
    assert targets.on_nodes(["n1", "n2", ""]) == {"n1": urls, "n2": urls, "": urls}
    assert targets.on_nodes([]) == {}
