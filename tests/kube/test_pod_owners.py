import json

import pytest

from metrics_server.kube.pods import pod_decoder
from metrics_server.simulator.kube.objects import Json, Object


def owner(kind: str, name: str, *, controller: bool | None = True) -> Json:
    """An ownerReference."""
    reference: Object = {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u"}
    return reference if controller is None else {**reference, "controller": controller}


def workload(
    owners: Json, labels: Object | None = None, gpus: int = 1, *, endpoints: bool = False
) -> str:
    """The workload of a pod with these owners and labels."""
    limits: Object = {"nvidia.com/gpu": gpus} if gpus else {}
    return pod_decoder(endpoints=endpoints)(
        json.dumps(
            {
                "metadata": {
                    "name": "p",
                    "namespace": "n",
                    "labels": labels,
                    "ownerReferences": owners,
                },
                "spec": {"containers": [{"resources": {"limits": limits}}]},
                "status": {"phase": "Running"},
            }
        ).encode()
    ).workload


@pytest.mark.parametrize(
    ("owners", "labels", "expected"),
    [
        ([owner("ReplicaSet", "web-7f9")], {"pod-template-hash": "7f9"}, "Deployment/web"),
        ([owner("ReplicaSet", "a-b-7f9")], {"pod-template-hash": "7f9"}, "Deployment/a-b"),
        ([owner("ReplicaSet", "web-7f9")], {"rollouts-pod-template-hash": "7f9"}, "Rollout/web"),
        # A ReplicaSet without a Deployment.
        ([owner("ReplicaSet", "web-7f9")], {}, "ReplicaSet/web-7f9"),
        ([owner("ReplicaSet", "web-7f9")], {"pod-template-hash": ""}, "ReplicaSet/web-7f9"),
        ([owner("ReplicaSet", "web")], {"pod-template-hash": "7f9"}, "ReplicaSet/web"),
        ([owner("StatefulSet", "db")], {"pod-template-hash": "db"}, "StatefulSet/db"),
        ([owner("Job", "train")], None, "Job/train"),
        ([owner("Node", "n", controller=False), owner("Job", "train")], None, "Job/train"),
        ([owner("Job", "train", controller=None)], None, ""),
        ([], None, ""),
        (None, None, ""),
    ],
)
def test_a_pod_knows_its_workload(owners: Json, labels: Object | None, expected: str) -> None:
    """The workload is the pod's controller, or the Deployment or Rollout that a hash leads to."""
    assert workload(owners, labels) == expected


def test_a_pod_without_a_gpu_has_no_workload() -> None:
    """It is never measured, unless pods' own pages are, and there may be many such pods."""
    assert workload([owner("Job", "train")], gpus=0) == ""
    assert workload([owner("Job", "train")], gpus=0, endpoints=True) == "Job/train"


def test_pods_share_the_name_of_their_workload() -> None:
    """A cluster has far more pods than workloads."""
    first, second = (
        workload([owner("ReplicaSet", f"web-{n}")], {"pod-template-hash": n}) for n in "ab"
    )
    assert first is second
