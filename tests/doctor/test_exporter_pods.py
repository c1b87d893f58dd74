"""What exporters' pods reveal: the exporter's version, and how to restart it."""

from collections.abc import Mapping

import msgspec
import pytest

from metrics_server.doctor.exporter_pods import OURS, main_daemon_set, restarts, version_of
from metrics_server.doctor.exporters import Exporter
from metrics_server.doctor.objects import RunningPod
from metrics_server.kube.endpoints import Endpoint, ServiceRef
from tests.doctor.scene import SERVER_NAMESPACE, Scene

_SERVICE = ServiceRef("gpu", "exporter", None)


def exporter(name: str) -> Exporter:
    """An exporter in the namespace gpu."""
    return Exporter(Endpoint(name, name, 9400, _SERVICE), name, ("gpu", name), "/metrics", "http")


def pod(name: str, owner: str = "DaemonSet/exporter", images: Mapping[str, int] = {}) -> RunningPod:
    """A pod in the namespace gpu, with containers for these images and ports."""
    kind, _, of = owner.partition("/")
    containers = [
        {"name": "c", "image": image, "ports": [{"containerPort": port}]}
        for image, port in images.items()
    ]
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "gpu",
                "ownerReferences": [{"kind": kind, "name": of}],
            },
            "spec": {"containers": containers},
        },
        RunningPod,
    )


@pytest.mark.parametrize(
    ("failing", "every", "owner", "commands"),
    [
        (
            1,
            1,
            "DaemonSet/exporter",
            ["kubectl -n gpu delete pod e0   # its DaemonSet starts another"],
        ),
        (2, 9, "DaemonSet/exporter", ["kubectl -n gpu delete pod e0 e1"]),
        (
            5,
            9,
            "DaemonSet/exporter",
            [
                "kubectl -n gpu rollout restart daemonset/exporter",
                "kubectl -n gpu rollout status daemonset/exporter",
            ],
        ),
        (5, 9, "Node/gpu-0", ["kubectl -n gpu delete pod e0 e1 e2 e3 e4"]),
        (5, 9, "", ["kubectl -n gpu delete pod e0 e1 e2 e3 e4"]),
    ],
)
def test_the_restart_fits(failing: int, every: int, owner: str, commands: list[str]) -> None:
    """If most of a DaemonSet's exporters fail, it restarts all of them."""
    names = [f"e{number}" for number in range(every)]
    pods = {name: pod(name, owner) for name in names if owner}
    lines = restarts(names[:failing], {name: exporter(name) for name in names}, pods)
    assert lines.splitlines() == commands


@pytest.mark.parametrize(
    ("images", "version"),
    [
        ({"nvcr.io/nvidia/k8s/dcgm-exporter:4.6.0@sha256:1a": 9400}, "dcgm-exporter:4.6.0"),
        ({"registry:5000/proxy:1": 8443, "a/exporter:2": 9400}, "exporter:2"),
        ({"a/exporter:2": 1}, "exporter:2"),
        ({"exporter\x1b[31m": 9400}, "exporter\\x1b[31m"),
        ({}, ""),
    ],
)
def test_the_version_is_that_of_the_image(images: Mapping[str, int], version: str) -> None:
    """From the container with the page's port, without registry and digest."""
    assert version_of(pod("e", images=images), 9400) == version


def test_the_version_of_an_image_that_is_pinned() -> None:
    """Only by digest: a pod label may have the version."""
    labelled = pod("e", images={"a/exporter@sha256:1a": 9400})
    assert version_of(labelled, 9400) == "exporter"
    labelled.metadata.labels = {"app.kubernetes.io/version": "4.6.0"}
    assert version_of(labelled, 9400) == "exporter:4.6.0"


def test_the_daemon_set_of_exporters() -> None:
    """The first one that a pod names; otherwise the one in our manifests."""
    pods = {"a": pod("a", "Node/x"), "b": pod("b", "DaemonSet/nvidia-dcgm-exporter")}
    assert main_daemon_set(["a", "b"], pods).name == "nvidia-dcgm-exporter"
    assert main_daemon_set(["a", "c"], pods) == OURS


async def test_pods_that_cannot_be_read_fail_nothing(scene: Scene) -> None:
    """Only the versions are missing."""
    scene.api.faults.forbid(f"/namespaces/{SERVER_NAMESPACE}/pods/dcgm-exporter-gpu-node-0")
    outcomes = {one.check: one for one in await scene.doctor(direct=True)}
    assert outcomes["exporters-failed"].summary == (
        "2 pages read: 1 of dcgm, 1 of dcgm (dcgm-exporter:simulated)"
    )
