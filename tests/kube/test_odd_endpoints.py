"""EndpointSlices as no controller makes them: by hand, or by a faulty tool."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.kube.endpoints import (
    SERVICE_NAME_LABEL,
    EndpointSlice,
    EndpointStore,
    NamespacedEndpoints,
    ServiceRef,
    Unplaced,
    decode_endpoint_slice,
)
from metrics_server.kube.nodes import Node, NodeStore, decode_node
from metrics_server.simulator.kube.objects import Json, Object

SERVICE = ServiceRef("monitoring", "exporters")
HEALTHY: Object = {"addresses": ["10.0.0.1"], "nodeName": "n1"}
METRICS: Object = {"name": "metrics", "port": 9400}


def slice_of(*endpoints: Json, ports: Sequence[Json] = (METRICS,)) -> EndpointSlice:
    """A slice of the Service, decoded from the JSON that the API would send."""
    return decode_endpoint_slice(
        json.dumps(
            {
                "metadata": {
                    "name": "s",
                    "namespace": SERVICE.namespace,
                    "labels": {SERVICE_NAME_LABEL: SERVICE.name},
                },
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": ports,
            }
        ).encode()
    )


def found(store: EndpointStore) -> dict[str, list[str]]:
    """The addresses of each node's exporters."""
    return {node: [one.host for one in ones] for node, ones in store.by_node().items()}


@pytest.mark.parametrize(
    "odd",
    [
        {"addresses": [], "nodeName": "n2"},
        {"addresses": None, "nodeName": "n2"},
        {"addresses": [None], "nodeName": "n2"},
        {"nodeName": "n2"},
        {"addresses": [""], "nodeName": "n2"},
        {"addresses": ["exporter.example.com/path?x="], "nodeName": "n2"},
        {"addresses": ["fe80::1%eth0"], "nodeName": "n2"},
        {"addresses": [], "nodeName": None, "conditions": None, "targetRef": None},
        None,
    ],
)
def test_an_odd_endpoint_costs_no_other(odd: Json) -> None:
    """An endpoint without a usable address is skipped, and the others are found."""
    store = EndpointStore([SERVICE])
    store.replace([slice_of(odd, HEALTHY)])
    assert found(store) == {"n1": ["10.0.0.1"]}
    assert len(store) == 1


@pytest.mark.parametrize("reference", [{}, {"kind": "Pod", "namespace": None, "name": None}])
def test_an_empty_reference_is_not_a_pod(reference: Json) -> None:
    """Two endpoints without a named pod are two exporters, not one."""
    store = EndpointStore([SERVICE])
    store.replace(
        [
            slice_of(
                {**HEALTHY, "targetRef": reference},
                {"addresses": ["10.0.0.2"], "nodeName": "n2", "targetRef": reference},
            )
        ]
    )
    assert found(store) == {"n1": ["10.0.0.1"], "n2": ["10.0.0.2"]}


@pytest.mark.parametrize("port", [0, -1, 65536, None])
def test_an_impossible_port_is_none(port: int | None) -> None:
    """An unusable port is skipped."""
    store = EndpointStore([SERVICE])
    store.replace([slice_of(HEALTHY, ports=[{"name": "metrics", "port": port}, None])])
    assert found(store) == {}


_TEXTS = st.one_of(
    st.none(),
    st.text("a1é:./%\0", max_size=5),
    st.sampled_from(["10.0.0.1", "::1", "n1", "TCP"]),
)
_ENDPOINTS = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "addresses": st.one_of(st.none(), st.lists(_TEXTS, max_size=3)),
            "nodeName": _TEXTS,
            "conditions": st.one_of(
                st.none(),
                st.just({}),
                st.fixed_dictionaries({"ready": st.one_of(st.none(), st.booleans())}),
            ),
            "targetRef": st.one_of(
                st.none(),
                st.just({}),
                st.fixed_dictionaries({"namespace": _TEXTS, "name": _TEXTS}),
            ),
            "hints": st.none(),
        },
    ),
)
_PORTS = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={"name": _TEXTS, "port": st.one_of(st.none(), st.integers()), "protocol": _TEXTS},
    ),
)
_SLICES = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {
                "name": st.sampled_from("abc"),
                "namespace": st.sampled_from(["monitoring", "other"]),
            },
            optional={
                "labels": st.one_of(
                    st.none(),
                    st.just({}),
                    st.fixed_dictionaries(
                        {SERVICE_NAME_LABEL: st.one_of(st.none(), st.just("exporters"))}
                    ),
                )
            },
        ),
        "addressType": st.sampled_from(["IPv4", "IPv6", "FQDN", ""]),
    },
    optional={
        "endpoints": st.one_of(st.none(), st.lists(_ENDPOINTS, max_size=4)),
        "ports": st.one_of(st.none(), st.lists(_PORTS, max_size=3)),
    },
)


@given(st.lists(_SLICES, max_size=4), st.lists(_SLICES, max_size=4))
def test_no_slice_raises(listed: list[Json], changed: list[Json]) -> None:
    """Whatever the slices, exporters can be listed, and all have addresses."""
    nodes = NodeStore()
    nodes.replace([Node("n1", ("10.0.0.1",))])
    for store in (EndpointStore([SERVICE]), EndpointStore([SERVICE], nodes)):
        decoded = [_decoded(one) for one in listed]
        store.replace([one for one in decoded if one is not None])
        for one in filter(None, map(_decoded, changed)):
            store.apply("MODIFIED", one)
        for ones in store.by_node().values():
            assert all(one.host and one.node and 0 < one.port < 65536 for one in ones)
        assert len(store) >= 0
        assert all(one.host for one in store.unplaced())


def _decoded(one: Json) -> EndpointSlice | None:
    """The slice; None if it is rejected as a whole, as for a port beyond 64 bits."""
    try:
        return decode_endpoint_slice(json.dumps(one).encode())
    except ValueError:
        return None


def node(name: str, *addresses: tuple[str, str]) -> Node:
    """A node with addresses, each with its type."""
    return decode_node(
        json.dumps(
            {
                "metadata": {"name": name},
                "status": {"addresses": [{"type": kind, "address": a} for kind, a in addresses]},
            }
        ).encode()
    )


def test_an_endpoint_without_a_node_is_placed_by_its_address() -> None:
    """An exporter on a host is assigned to the node with its address, in any notation."""
    nodes = NodeStore()
    store = EndpointStore([SERVICE], nodes)
    store.replace([slice_of({"addresses": ["10.0.0.7"]}, {"addresses": ["fd00:0::7"]}, HEALTHY)])
    assert found(store) == {"n1": ["10.0.0.1"]}
    assert store.unplaced() == (Unplaced(SERVICE, "10.0.0.7"), Unplaced(SERVICE, "fd00::7"))
    nodes.replace([node("n7", ("InternalIP", "10.0.0.7"), ("Hostname", "n7"))])
    assert found(store) == {"n1": ["10.0.0.1"], "n7": ["10.0.0.7"]}
    nodes.apply("MODIFIED", node("n7", ("InternalIP", "10.0.0.7"), ("ExternalIP", "FD00::0007")))
    assert found(store) == {"n1": ["10.0.0.1"], "n7": ["10.0.0.7", "fd00::7"]}
    assert store.unplaced() == ()
    nodes.apply("DELETED", node("n7"))
    assert found(store) == {"n1": ["10.0.0.1"]}


def test_an_address_of_two_nodes_is_nobodys() -> None:
    """The server does not guess which of two nodes an exporter is on."""
    nodes = NodeStore()
    nodes.replace([node("a", ("InternalIP", "10.0.0.7")), node("b", ("ExternalIP", "10.0.0.7"))])
    store = EndpointStore([SERVICE], nodes)
    store.replace([slice_of({"addresses": ["10.0.0.7"]})])
    assert found(store) == {}
    nodes.apply("DELETED", node("b"))
    assert found(store) == {"a": ["10.0.0.7"]}


def test_a_kubelets_report_of_nothing_new_changes_nothing() -> None:
    """Nodes change every few minutes; the exporters are not sorted again for that."""
    nodes = NodeStore()
    nodes.replace([node("n7", ("InternalIP", "10.0.0.7"))])
    store = EndpointStore([SERVICE], nodes)
    store.replace([slice_of({"addresses": ["10.0.0.7"]})])
    before = store.by_node()
    nodes.apply("MODIFIED", node("n7", ("InternalIP", "10.0.0.7")))
    assert store.by_node() is before


@pytest.mark.parametrize("status", [None, {}, {"addresses": None}, {"addresses": [{}]}])
def test_a_node_without_addresses(status: Json) -> None:
    """A node that has just registered has none."""
    made = {"metadata": {"name": "n"}, "status": status}
    assert decode_node(json.dumps(made).encode()) == Node("n", ())


def test_each_namespace_is_listed_by_itself() -> None:
    """A list of one namespace's slices does not affect another's."""
    other = ServiceRef("other", "exporters")
    store = EndpointStore([SERVICE, other])
    elsewhere = slice_of({"addresses": ["10.0.0.2"], "nodeName": "n2"})
    elsewhere.metadata.namespace = "other"
    NamespacedEndpoints(store, "monitoring").replace([slice_of(HEALTHY)])
    NamespacedEndpoints(store, "other").replace([elsewhere])
    assert found(store) == {"n1": ["10.0.0.1"], "n2": ["10.0.0.2"]}
    NamespacedEndpoints(store, "monitoring").replace([])
    assert found(store) == {"n2": ["10.0.0.2"]}
    NamespacedEndpoints(store, "other").apply("DELETED", elsewhere)
    assert found(store) == {}
