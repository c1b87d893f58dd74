"""The server's answers alone never make a real HPA controller move a workload."""

import asyncio
import json
import re
from math import ceil
from pathlib import Path

from tests.cluster.cluster import GROUP, Cluster
from tests.cluster.pods import GPU

METRIC = f"/apis/{GROUP}/v1beta1/namespaces/default/gpu_utilization?labelSelector=app%3Dllm"
TARGET = 50
# How many syncs of the HPA are watched, one second each (15 s by default).
SYNCS = 20


async def deploy(cluster: Cluster, folder: Path, replicas: int) -> None:
    """Run pods with one GPU each, and wait until all are Ready."""
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "llm"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "llm"}},
            "template": {
                "metadata": {"labels": {"app": "llm"}},
                "spec": {
                    "tolerations": [{"key": GPU, "operator": "Exists"}],
                    "containers": [
                        {"name": "llm", "image": "llm", "resources": {"limits": {GPU: "1"}}}
                    ],
                },
            },
        },
    }
    await apply(cluster, folder, deployment)
    ready = "-o=jsonpath=<{.status.readyReplicas}>"
    await cluster.becomes(f"<{replicas}>", "get", "deployment", "llm", ready)


async def scale(cluster: Cluster, folder: Path) -> None:
    """Let an HPA scale them, down as fast as up."""
    metric = {"name": "gpu_utilization", "selector": {"matchLabels": {"app": "llm"}}}
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
                    "type": "External",
                    "external": {
                        "metric": metric,
                        "target": {"type": "Value", "value": str(TARGET)},
                    },
                }
            ],
        },
    }
    await apply(cluster, folder, autoscaler)


async def apply(cluster: Cluster, folder: Path, obj: object) -> None:
    """Apply an object."""
    path = folder / "object.json"
    path.write_text(json.dumps(obj))
    await cluster.kubectl("apply", "-f", path)


async def sizes(cluster: Cluster) -> list[int]:
    """The replica counts that the HPA has set, in order."""
    events = await cluster.kubectl(
        "get",
        "events",
        "--field-selector=reason=SuccessfulRescale,involvedObject.name=llm",
        "--sort-by=.metadata.creationTimestamp",
        "-o=jsonpath={range .items[*]}{.count} x {.message}\n{end}",
    )
    return [
        int(match[2])
        for match in re.finditer(r"^(\d+) x New size: (\d+);", events, re.MULTILINE)
        for _ in range(int(match[1]))
    ]


async def test_draining_pods_do_not_make_it_flap(cluster: Cluster, tmp_path: Path) -> None:
    """Constant work for four of eight pods, which take 28 s to drain: the HPA goes to four once.

    It still counts the draining pods, and multiplies by eight.
    """
    cluster.nodes.work = 3.5 * TARGET
    cluster.nodes.drain_seconds = 28
    await cluster.install()
    await deploy(cluster, tmp_path, 8)
    await cluster.becomes('"pods":"8/8"', "get", "--raw", METRIC)
    await scale(cluster, tmp_path)
    await cluster.becomes('"pods":"4/4"', "get", "--raw", METRIC)
    await asyncio.sleep(SYNCS / 2)
    assert await sizes(cluster) == [4]


async def test_an_outage_moves_a_workload_once_at_most(cluster: Cluster, tmp_path: Path) -> None:
    """The default install, and empty pages: one simulated value, then the error.

    kube-apiserver asks either replica, and the HPA's first question reaches only one.
    """
    cluster.nodes.pages_are_empty = True
    cluster.nodes.load_seconds = 7
    await cluster.install()
    await deploy(cluster, tmp_path, 4)
    await scale(cluster, tmp_path)
    await cluster.becomes("FailedGetExternalMetric", "describe", "hpa", "llm")
    await asyncio.sleep(SYNCS)
    (size,) = await sizes(cluster)
    assert ceil(4 * 60 / TARGET) <= size <= ceil(4 * 90 / TARGET)
