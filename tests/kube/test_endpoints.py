import json
from collections.abc import Sequence

import msgspec
import pytest

from metrics_server.kube.endpoints import (
    Endpoint,
    EndpointSlice,
    EndpointStore,
    ServiceRef,
    decode_endpoint_slice,
    service_selector,
)
from metrics_server.simulator.kube.objects import Json, Object
from tests.kube.conftest import Recording

DCGM = ServiceRef("gpu-monitoring", "dcgm-exporter")
METRICS: Object = {"name": "metrics", "protocol": "TCP", "port": 9400}


def endpoint(address: str, node: str | None = "n1", **fields: Json) -> Object:
    """An endpoint in a slice."""
    made: Object = {"addresses": [address], "conditions": {"ready": True}, **fields}
    return made if node is None else {**made, "nodeName": node}


def slice_of(
    *endpoints: Object,
    name: str = "s",
    service: ServiceRef = DCGM,
    ports: Sequence[Object] = (METRICS,),
    kind: str = "IPv4",
) -> EndpointSlice:
    """A slice, decoded from the JSON that the API would send."""
    return decode_endpoint_slice(
        json.dumps(
            {
                "metadata": {
                    "name": name,
                    "namespace": service.namespace,
                    "labels": {"kubernetes.io/service-name": service.name},
                },
                "addressType": kind,
                "endpoints": endpoints,
                "ports": ports,
            }
        ).encode()
    )


def store_of(*slices: EndpointSlice, services: Sequence[ServiceRef] = (DCGM,)) -> EndpointStore:
    """A store with these slices."""
    store = EndpointStore(services)
    store.replace(slices)
    return store


def hosts(store: EndpointStore, node: str = "n1") -> list[str]:
    """The addresses of a node's exporters."""
    return [found.host for found in store.by_node().get(node, ())]


def test_recorded_slices_are_read(recording: Recording) -> None:
    """The slices of a real DaemonSet's Service give one exporter per node."""
    body = msgspec.to_builtins(recording("endpointslices-dcgm-exporter"))["response"]["body"]
    store = store_of(*(decode_endpoint_slice(json.dumps(s).encode()) for s in body["items"]))
    found = store.by_node()
    assert found["gpu-node-0"] == (Endpoint("gpu-node-0", "10.88.1.1", 9400, DCGM),)
    assert found["gpu-node-2"] == (Endpoint("gpu-node-2", "10.88.1.3", 9400, DCGM),)
    assert len(store) == len(found) == 3


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({"ready": True}, True),
        ({"ready": False, "serving": True}, False),
        ({"ready": None}, True),
        ({}, True),
        (None, True),
    ],
)
def test_only_what_is_ready_is_found(conditions: Json, found: bool) -> None:  # noqa: FBT001 - the case's expectation
    """An endpoint is ready unless it says that it is not."""
    store = store_of(slice_of(endpoint("10.0.0.1", conditions=conditions)))
    assert bool(hosts(store)) is found


def test_an_endpoint_without_a_node_is_left_out() -> None:
    """Without a known node it cannot measure a node's pods."""
    assert len(store_of(slice_of(endpoint("10.0.0.1", node=None)))) == 0


def test_both_families_are_found_and_names_are_not() -> None:
    """IPv6 addresses are used unchanged; names are not resolved."""
    store = store_of(
        slice_of(endpoint("fd00::1"), name="6", kind="IPv6"),
        slice_of(endpoint("10.0.0.1"), name="4"),
        slice_of(endpoint("exporter.example.com"), name="f", kind="FQDN"),
    )
    assert hosts(store) == ["10.0.0.1", "fd00::1"]


def test_a_pod_counts_once() -> None:
    """A pod with two addresses, or behind two Services, is scraped once, by IPv4 if possible."""
    other = ServiceRef("gpu-monitoring", "other")
    target: Json = {"kind": "Pod", "namespace": "gpu-monitoring", "name": "dcgm-exporter-x"}
    store = store_of(
        slice_of(endpoint("fd00::1", targetRef=target), name="6", kind="IPv6"),
        slice_of(endpoint("10.0.0.1", targetRef=target), name="4"),
        slice_of(endpoint("10.0.0.1", targetRef=target), name="o", service=other),
        services=(DCGM, other),
    )
    assert hosts(store) == ["10.0.0.1"]


def test_an_address_counts_once() -> None:
    """While an endpoint moves between slices it may be in both."""
    store = store_of(
        slice_of(endpoint("10.0.0.1"), endpoint("10.0.0.2"), name="a"),
        slice_of(endpoint("10.0.0.1"), name="b"),
    )
    assert hosts(store) == ["10.0.0.1", "10.0.0.2"]


def test_two_exporters_can_share_a_host() -> None:
    """With hostNetwork the exporters of two vendors differ only by port."""
    amd = ServiceRef("kube-amd-gpu", "metrics-exporter")
    store = store_of(
        slice_of(endpoint("10.0.0.1")),
        slice_of(endpoint("10.0.0.1"), service=amd, ports=[{"name": "http", "port": 5000}]),
        services=(DCGM, amd),
    )
    assert sorted(found.port for found in store.by_node()["n1"]) == [5000, 9400]


@pytest.mark.parametrize(
    ("wanted", "ports", "port"),
    [
        (None, [{"name": "whatever", "port": 1}], 1),
        (None, [{"port": 1}], 1),
        (None, [{"name": "", "port": 1}], 1),
        (None, [{"name": "a", "port": 1}, {"name": "metrics", "port": 2}], 2),
        (None, [{"name": "a", "port": 1}, {"name": "gpu-metrics", "port": 2}], 2),
        (None, [{"name": "a", "port": 1}, {"name": "http", "port": 2}], 2),
        (None, [{"name": "http", "port": 1}, {"name": "metrics", "port": 2}], 2),
        (None, [{"name": "a", "port": 1}, {"name": "b", "port": 2}], 1),
        (None, [{"name": "u", "port": 1, "protocol": "UDP"}, {"name": "b", "port": 2}], 2),
        (None, [{"name": "metrics", "port": None}, {"name": "b", "port": 2}], 2),
        (None, [], None),
        ("b", [{"name": "metrics", "port": 1}, {"name": "b", "port": 2}], 2),
        ("c", [{"name": "metrics", "port": 1}], None),
    ],
)
def test_the_port_of_the_metrics_is_found(
    wanted: str | None, ports: list[Object], port: int | None
) -> None:
    """The port is the configured one, or else the most likely."""
    service = ServiceRef("gpu-monitoring", "dcgm-exporter", wanted)
    store = store_of(slice_of(endpoint("10.0.0.1"), ports=ports), services=[service])
    assert next((found.port for found in store.by_node().get("n1", ())), None) == port


def test_slices_of_other_services_are_passed_over() -> None:
    """A Service of the same name in another namespace is another Service."""
    elsewhere = ServiceRef("elsewhere", "dcgm-exporter")
    assert len(store_of(slice_of(endpoint("10.0.0.1"), service=elsewhere))) == 0


def test_slices_come_and_go() -> None:
    """A Service may have many slices, and each change is seen at once."""
    store = store_of(slice_of(endpoint("10.0.0.1", "n1"), name="a"))
    store.apply("ADDED", slice_of(endpoint("10.0.0.2", "n2"), name="b"))
    assert (hosts(store, "n1"), hosts(store, "n2")) == (["10.0.0.1"], ["10.0.0.2"])
    store.apply("MODIFIED", slice_of(endpoint("10.0.0.3", "n2"), name="b"))
    assert hosts(store, "n2") == ["10.0.0.3"]
    store.apply("DELETED", slice_of(name="a"))
    assert hosts(store, "n1") == []
    store.replace([slice_of(endpoint("10.0.0.4", "n4"), name="c")])
    assert (hosts(store, "n2"), hosts(store, "n4")) == ([], ["10.0.0.4"])


def test_a_slice_can_leave_its_service() -> None:
    """A slice whose label changes no longer belongs to the Service."""
    store = store_of(slice_of(endpoint("10.0.0.1")))
    other = ServiceRef(DCGM.namespace, "other")
    store.apply("MODIFIED", slice_of(endpoint("10.0.0.1"), service=other))
    assert hosts(store) == []


def test_one_selector_covers_all_services() -> None:
    """One watch is enough for every configured Service; names are not repeated."""
    services = [
        DCGM,
        ServiceRef("gpu-operator", "nvidia-dcgm-exporter"),
        ServiceRef("x", DCGM.name),
    ]
    assert (
        service_selector(services)
        == "kubernetes.io/service-name in (dcgm-exporter,nvidia-dcgm-exporter)"
    )
