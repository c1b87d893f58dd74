import json
from collections.abc import Sequence
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.config.sections import Config
from metrics_server.kube.pod_requests import Container, Resources, effective_request
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import (
    Pod,
    pod_decoder,
)
from metrics_server.rules.presets import GPU_RESOURCES
from metrics_server.simulator.kube.objects import Json, Object
from tests.kube.conftest import Recording

GPU = "nvidia.com/gpu"

decode = pod_decoder()


def pod_json(
    containers: Sequence[Object] = (), init_containers: Sequence[Object] = (), **status: Json
) -> bytes:
    """A Pod as the API returns it."""
    return json.dumps(
        {
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": containers, "initContainers": init_containers},
            "status": {"phase": "Running", **status},
        }
    ).encode()


def container(gpus: str | int = 0, *, resource: str = GPU, restart: str | None = None) -> Object:
    """A container with requests and limits for a resource."""
    amounts: Object = {resource: gpus, "cpu": "100m"} if gpus else {"cpu": "1"}
    made: Object = {"name": "c", "resources": {"requests": amounts, "limits": amounts}}
    return made if restart is None else {**made, "restartPolicy": restart}


def sidecar(gpus: int) -> Object:
    """An init container that stays."""
    return container(gpus, restart="Always")


def test_recorded_pods_are_read(recording: Recording) -> None:
    """A real API server's Pod sets every field of the record."""
    page = msgspec.to_builtins(recording("pods-list-page1"))["response"]["body"]
    pods = [decode(json.dumps(item).encode()) for item in page["items"]]
    assert pods[0] == Pod(
        namespace="default",
        name="inference-cb965885-7t8sd",
        labels={"app": "inference", "pod-template-hash": "cb965885", "tier": "gpu"},
        node="gpu-node-0",
        phase="Running",
        ready=True,
        terminating=False,
        gpus=1,
        created=1795508319,  # 2026-11-24T08:18:39Z
        workload="Deployment/inference",
    )
    assert len({pod.name for pod in pods}) == 3


def test_recorded_events_are_read(recording: Recording) -> None:
    """The events show a pod being scheduled, becoming Ready, and being terminated."""
    events = msgspec.to_builtins(recording("pods-watch"))["events"]
    seen = [
        (pod.node != "", pod.phase, pod.ready, pod.terminating)
        for event in (entry["event"]["object"] for entry in events)
        if event["metadata"].get("name") == "probe"
        for pod in [decode(json.dumps(event).encode())]
    ]
    assert seen == [
        (False, "Pending", False, False),
        (True, "Pending", False, False),
        (True, "Running", True, False),
        (True, "Running", True, True),
        (True, "Running", True, True),
        (True, "Running", True, True),
    ]


def test_what_is_null_is_empty() -> None:
    """Go writes null for an empty list, and a pod without labels has no such field."""
    raw = b"""{"metadata": {"name": "p", "namespace": "n"},
               "spec": {"containers": null}, "status": {}}"""
    assert decode(raw) == Pod("n", "p", {}, "", "", ready=False, terminating=False, gpus=0)


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_condition_that_is_not_true_is_not_ready(status: str) -> None:
    """Only Ready=True is ready, and no other condition is."""
    conditions: list[Json] = [
        {"type": "ContainersReady", "status": "True"},
        {"type": "Ready", "status": status},
    ]
    assert not decode(pod_json(conditions=conditions)).ready


@pytest.mark.parametrize(
    ("containers", "init_containers", "gpus"),
    [
        ([], [], 0),
        ([container()], [], 0),
        ([container(2)], [], 2),
        ([container("8")], [], 8),
        ([container("1k")], [], 1000),
        ([container("2e1")], [], 20),
        ([container(1), container(2)], [], 3),
        ([{"resources": {"limits": {GPU: "4"}}}], [], 4),
        ([{"resources": {"requests": {"cpu": 1}, "limits": {GPU: "4"}}}], [], 4),
        ([{"name": "no resources"}], [], 0),
        ([container(1)], [container(3)], 3),
        ([container(3)], [container(1)], 3),
        ([container(1)], [container(1), container(1)], 1),
        ([container(1)], [sidecar(1)], 2),
        ([container(1)], [sidecar(1), container(4)], 5),
        ([container(1)], [container(4), sidecar(1)], 4),
        ([], [sidecar(1), sidecar(2)], 3),
        ([container(1), container(1, resource="nvidia.com/mig-1g.5gb")], [], 2),
        ([container(1, resource="amd.com/gpu")], [], 1),
        ([container(1)], [container(3, resource="amd.com/gpu")], 4),
        ([container(1, resource="nvidia.com/gpu.shared")], [], 1),
        ([container(2, resource="nvidia.com/mig-1g.5gb.shared")], [], 2),
        (
            [container(1, resource="amd.com/cpx_nps4"), container(1, resource="amd.com/spx_nps1")],
            [],
            2,
        ),
        ([container(1, resource="amd.com/nic")], [], 0),
        ([container(1, resource="example.com/nvidia.com/gpu")], [], 0),
    ],
)
def test_gpus_are_counted_as_the_scheduler_does(
    containers: list[Object], init_containers: list[Object], gpus: int
) -> None:
    """A pod requests the total of its containers and sidecars, or what its start needs, if more."""
    assert decode(pod_json(containers, init_containers)).gpus == gpus


def test_which_resources_are_gpus_is_configurable() -> None:
    """A cluster may use other names for its GPUs, such as time-sliced ones."""
    raw = pod_json([container(1, resource="nvidia.com/gpu.shared"), container(1)])
    assert pod_decoder(["nvidia.com/gpu.sh*"])(raw).gpus == 1
    assert pod_decoder([])(raw).gpus == 0


def test_other_resources_are_known_of_pods_without_a_gpu() -> None:
    """A few extended resources are kept, sorted, and shared by similar pods."""
    names = [f"example.com/r{n}" for n in range(9)]
    containers = [container(1, resource=name) for name in (*names, "hugepages-2Mi")]
    one, other = decode(pod_json(containers)), decode(pod_json(containers))
    assert one.other_resources == tuple(names[:4])
    assert one.other_resources is other.other_resources
    assert decode(pod_json([*containers, container(1)])).other_resources == ()
    assert decode(pod_json([container()])).other_resources == ()
    # A request for no GPU changes nothing.
    none: Object = {"resources": {"limits": {GPU: "0", "habana.ai/gaudi": 1}}}
    assert decode(pod_json([none])).other_resources == ("habana.ai/gaudi",)


def test_the_default_resources_are_those_of_the_configuration() -> None:
    """The same resources are GPUs with or without a configuration file."""
    assert Config().pods.gpu_resources == GPU_RESOURCES


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"metadata": {}}', b"\xff", b'"\xff"'])
def test_a_malformed_pod_is_rejected(raw: bytes) -> None:
    """What cannot be read raises an error that a reflector expects."""
    with pytest.raises((msgspec.DecodeError, ValueError)):
        decode(raw)


@pytest.mark.parametrize("quantity", ["", "many", "1X"])
def test_malformed_quantities_are_rejected(quantity: str) -> None:
    """A malformed request does not count as zero."""
    raw = pod_json([{"resources": {"limits": {GPU: quantity}}}])
    with pytest.raises(ValueError, match="not a quantity"):
        decode(raw)


Timeline = list[tuple[Literal["init", "sidecar"], int]]


def most_at_once(init_containers: Timeline, containers: list[int]) -> int:
    """The most that a pod holds at once, from playing its life step by step."""
    staying: list[int] = []
    held = [0]
    for kind, gpus in init_containers:
        held.append(sum(staying) + gpus)
        if kind == "sidecar":
            staying = [*staying, gpus]
    held.append(sum(staying) + sum(containers))
    return max(held)


@given(
    st.lists(st.tuples(st.sampled_from(["init", "sidecar"]), st.integers(0, 16)), max_size=8),
    st.lists(st.integers(0, 16), max_size=8),
)
def test_the_effective_request_is_the_most_at_once(
    init_containers: Timeline, containers: list[int]
) -> None:
    """The request is the peak over the pod's life, whatever the order of init containers."""

    def made(gpus: int, restart: str | None = None) -> Container:
        return Container(Resources(requests={GPU: str(gpus)}), restart)

    assert effective_request(
        [made(gpus) for gpus in containers],
        [made(gpus, "Always" if kind == "sidecar" else None) for kind, gpus in init_containers],
        GPU,
    ) == most_at_once(init_containers, containers)


def pod(namespace: str, name: str, node: str = "node") -> Pod:
    """A minimal pod."""
    return Pod(namespace, name, {}, node, "Running", ready=True, terminating=False, gpus=1)


def test_the_store_finds_pods_by_namespace() -> None:
    """Each namespace has its own pods, and an unknown one has none."""
    store = PodStore()
    store.replace([pod("a", "x"), pod("a", "y"), pod("b", "x")])
    assert {p.name for p in store.in_namespace("a")} == {"x", "y"}
    assert list(store.in_namespace("b")) == [pod("b", "x")]
    assert list(store.in_namespace("c")) == []
    assert store.get("a", "y") == pod("a", "y")
    assert store.get("b", "y") is None
    assert store.get("c", "x") is None
    assert len(store) == 3


def test_the_store_takes_changes_over() -> None:
    """Changes add, replace and remove; removing an unknown pod changes nothing."""
    store = PodStore()
    store.apply("ADDED", pod("a", "x", node=""))
    store.apply("MODIFIED", pod("a", "x", node="n1"))
    store.apply("MODIFIED", pod("a", "y"))
    assert store.get("a", "x") == pod("a", "x", node="n1")
    store.apply("DELETED", pod("a", "x"))
    store.apply("DELETED", pod("a", "x"))
    store.apply("DELETED", pod("b", "x"))
    assert list(store.in_namespace("a")) == [pod("a", "y")]
    store.apply("DELETED", pod("a", "y"))
    assert len(store) == 0


def test_the_store_is_replaced_whole() -> None:
    """After a replacement nothing old is left."""
    store = PodStore()
    store.replace([pod("a", "x"), pod("b", "x")])
    store.replace([pod("b", "y")])
    assert list(store.in_namespace("a")) == []
    assert list(store.in_namespace("b")) == [pod("b", "y")]


def test_a_resource_claim_counts_as_a_gpu() -> None:
    """A pod that has its GPU through dynamic resource allocation requests no such resource."""
    claimed = {
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
            "containers": [{"name": "main", "resources": {"claims": [{"name": "gpu"}]}}],
        },
        "status": {"phase": "Running"},
    }
    assert pod_decoder()(msgspec.json.encode(claimed)).gpus == 1


@pytest.mark.parametrize("annotation", ["gpu-fraction", "gpu-memory"])
def test_a_fraction_of_a_gpu_is_known(annotation: str) -> None:
    """Fractions are requested from schedulers by an annotation, without a resource."""
    raw = json.loads(pod_json([container()]))
    raw["metadata"]["annotations"] = {annotation: "0.5", "other": "x"}
    assert decode(json.dumps(raw).encode()).other_resources == ("gpu-fraction",)
    raw = json.loads(pod_json([container(1)]))
    raw["metadata"]["annotations"] = {annotation: "0.5"}
    assert decode(json.dumps(raw).encode()).other_resources == ()
