"""Pods and Object metrics, as the HPA controller uses them."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.cluster.cluster import CUSTOM, EXAMPLE_FILES, Cluster
from tests.cluster.test_stability import TARGET, apply, deploy, sizes
from tests.support.waiting import eventually

# kube-apiserver asks either replica of the server, and each caches a page for 2 s.
SETTLED_SECONDS = 5
PATIENCE_SECONDS = 60
REPLICAS = "-o=jsonpath=<{.spec.replicas}>"


async def scale_by_pods(cluster: Cluster, folder: Path) -> None:
    """Let an HPA scale the Deployment by a Pods metric, down as fast as up."""
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "llm"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llm"},
            "minReplicas": 1,
            "maxReplicas": 16,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "gpu_utilization"},
                        "target": {"type": "AverageValue", "averageValue": str(TARGET)},
                    },
                }
            ],
        },
    }
    await apply(cluster, folder, autoscaler)


async def reports(cluster: Cluster, *values: str) -> None:
    """Wait until both replicas of the server report these values for the Deployment's pods."""
    path = f"{CUSTOM}/pods/*/gpu_utilization?labelSelector=app%3Dllm"
    alike = 0

    async def read() -> list[str]:
        ran = await cluster.plane.kubectl("get", "--raw", path)
        return sorted(item["value"] for item in json.loads(ran.out)["items"]) if ran.out else []

    def settled(found: list[str]) -> bool:
        nonlocal alike
        alike = alike + 1 if found == sorted(values) else 0
        return alike >= 10

    await eventually(read, settled, PATIENCE_SECONDS)


@pytest.mark.parametrize("cluster", [{"gpu-0": 3, "gpu-1": 1, "cpu-0": 0}], indirect=True)
async def test_pods_without_a_value_hold_scaling_back(cluster: Cluster, tmp_path: Path) -> None:
    """Four GPUs, one of them behind a failing exporter: docs/hpa.md is right about it.

    Three pods at 100 % and a missing one give 6 replicas, not 8. The two Pending pods then count
    as 0, and it stays at 6. With all exporters, it is 8. Three at 10 % and a missing one give 2.
    """
    cluster.nodes.failing = {"gpu-1"}
    await cluster.install()
    await deploy(cluster, tmp_path, 4)
    await reports(cluster, "100", "100", "100")
    await scale_by_pods(cluster, tmp_path)
    await cluster.becomes("<6>", "get", "deployment", "llm", REPLICAS)
    await asyncio.sleep(SETTLED_SECONDS)
    assert await sizes(cluster) == [6]

    cluster.nodes.failing = set()
    await cluster.becomes("<8>", "get", "deployment", "llm", REPLICAS)
    cluster.nodes.utilization = TARGET
    await reports(cluster, *[str(TARGET)] * 4)
    cluster.nodes.failing = {"gpu-1"}
    await reports(cluster, *[str(TARGET)] * 3)
    cluster.nodes.utilization = 10
    await cluster.becomes("2;", "get", "events", *RESCALED)
    assert (await sizes(cluster))[:3] == [6, 8, 2]


RESCALED = (
    "--field-selector=reason=SuccessfulRescale,involvedObject.name=llm",
    "-o=jsonpath={range .items[*]}{.message}{end}",
)


async def test_every_exporter_down_keeps_the_replicas(cluster: Cluster, tmp_path: Path) -> None:
    """A Pods metric is never simulated: the HPA shows the server's message."""
    cluster.nodes.failing = set(cluster.nodes.with_gpus)
    await cluster.install()
    await deploy(cluster, tmp_path, 3)
    await scale_by_pods(cluster, tmp_path)
    described = await cluster.becomes("FailedGetPodsMetric", "describe", "hpa", "llm")
    assert "unable to fetch metrics from custom metrics API: 0 of 3 pods" in described
    assert "HTTP 500" in described
    assert await sizes(cluster) == []


async def test_objects_that_select_pods(cluster: Cluster) -> None:
    """A Deployment, its ReplicaSet and the namespace have one value for their pods."""
    cluster.nodes.utilization = 50  # nothing is scaled
    await cluster.install()
    await cluster.kubectl("apply", *EXAMPLE_FILES)
    await cluster.becomes('"value":"50"', "get", "--raw", f"{CUSTOM}/metrics/gpu_utilization")
    replica_set = await cluster.kubectl(
        "get", "replicasets", "-l=app=gpu-load", "-o=jsonpath={.items[0].metadata.name}"
    )
    for path in ("deployments.apps/gpu-load", f"replicasets.apps/{replica_set}"):
        answer = await cluster.read(f"{CUSTOM}/{path}/gpu_utilization_sum")
        (item,) = json.loads(json.dumps(answer["items"]))
        assert (item["value"], item["describedObject"]["name"]) == ("50", path.partition("/")[2])
