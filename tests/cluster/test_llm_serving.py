"""HPAs on the metrics of inference engines and their gateway, with pages from real pods."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from metrics_server.simulator.engines.pages import Flow, gateway_page, vllm_page
from metrics_server.simulator.engines.traffic import BATCH, Engine
from metrics_server.simulator.kube.objects import Json, Object
from tests.cluster.cluster import CUSTOM, GROUP, Cluster
from tests.cluster.test_stability import apply
from tests.deployments.manifests import DEPLOYMENTS, SCALE_TO_ZERO, find, mapping, read

REPLICAS = "-o=jsonpath=<{.spec.replicas}>"
SETTLED_SECONDS = 6
READY = "-o=jsonpath=<{.status.readyReplicas}>"


@pytest.fixture
def feature_gates() -> Sequence[str]:
    """On by default since Kubernetes 1.37."""
    return ("HPAScaleToZero=true",)


def deployment(name: str, replicas: int, labels: Object, container: str, port: int) -> Object:
    """A Deployment whose pods serve a page."""
    ports: list[Json] = [{"name": "metrics", "containerPort": port}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": container, "image": "x", "ports": ports}]},
            },
        },
    }


def autoscaler(name: str, metric: Object) -> Object:
    """An HPA for a Deployment."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "maxReplicas": 20,
            # It syncs every second here, and pages are up to two seconds old.
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 5}},
            "metrics": [metric],
        },
    }


async def test_a_queue_in_the_pods(cluster: Cluster, tmp_path: Path) -> None:
    """24 requests wait in total: at a target of 4 per pod, that is 6 pods, through either API.

    The first two pods have 12 each; with six, each has 4, and it stays so.
    """
    for name in ("by-pods", "by-sum"):
        cluster.nodes.pages[name] = lambda name=name: vllm_page(  # type: ignore[misc]  # its default
            Engine(requests=BATCH + 24 // cluster.nodes.count(name)), "acme/chat-8b"
        )
        await apply(cluster, tmp_path, deployment(name, 2, {"app": name}, name, 8000))
    await cluster.install()
    for name in ("by-pods", "by-sum"):
        await cluster.becomes("<2>", "get", "deployment", name, READY)

    target: Object = {"type": "AverageValue", "averageValue": "4"}
    waiting: Object = {"name": "llm_requests_waiting"}
    by_pods: Object = {"type": "Pods", "pods": {"metric": waiting, "target": target}}
    total: Object = {
        "name": "llm_requests_waiting_sum",
        "selector": {"matchLabels": {"app": "by-sum"}},
    }
    by_sum: Object = {"type": "External", "external": {"metric": total, "target": target}}
    await apply(cluster, tmp_path, autoscaler("by-pods", by_pods))
    await apply(cluster, tmp_path, autoscaler("by-sum", by_sum))
    for name in ("by-pods", "by-sum"):
        await cluster.becomes("<6>", "get", "deployment", name, REPLICAS)
        await cluster.becomes("<6>", "get", "deployment", name, READY)
        await cluster.becomes("4/4", "get", "hpa", name)
    await asyncio.sleep(SETTLED_SECONDS)
    for name in ("by-pods", "by-sum"):
        assert await cluster.kubectl("get", "deployment", name, REPLICAS) == "<6>"

    path = f"{CUSTOM}/pods/*/llm_requests_waiting?labelSelector=app%3Dby-pods"
    answer = json.loads(json.dumps(await cluster.read(path)))
    assert [item["value"] for item in answer["items"]] == ["4"] * 6


class Gateway:
    """The endpoint picker's page, as its pods serve it."""

    def __init__(self) -> None:
        self.held, self.running = 0, 0
        self.fails = False

    def page(self) -> str | None:
        """The current page; None while it fails."""
        flow = Flow("chat", ready=0, held=self.held, running=self.running)
        return None if self.fails else gateway_page({"chat": flow, "code": Flow("chat", 1, 9, 90)})


async def test_to_zero_and_back(cluster: Cluster, tmp_path: Path) -> None:
    """The manifest, except for its window: zero, one, more, and zero again, as requests come."""
    gateway = Gateway()
    cluster.nodes.pages["epp"] = gateway.page
    picker = deployment("chat-epp", 1, {"inferencepool": "chat-epp"}, "epp", 9090)
    await apply(cluster, tmp_path, picker)
    await cluster.install()
    await cluster.becomes("<1>", "get", "deployment", "chat-epp", READY)

    objects = read(DEPLOYMENTS / SCALE_TO_ZERO)
    hpa = find(objects, "HorizontalPodAutoscaler", "chat")
    mapping(hpa, "spec", "behavior", "scaleDown")["stabilizationWindowSeconds"] = 0
    await apply(cluster, tmp_path, find(objects, "Deployment", "chat"))
    await cluster.becomes("<1>", "get", "deployment", "chat", READY)
    await apply(cluster, tmp_path, hpa)
    replicas = ("get", "deployment", "chat", REPLICAS)

    await cluster.becomes("<0>", *replicas)
    queue = f"/apis/{GROUP}/v1beta1/namespaces/default/inference_queue_size"
    path = f"{queue}?labelSelector=inferencepool%3Dchat-epp,series%2Fmodel_name%3Dchat"
    assert '"value":"0"' in await cluster.kubectl("get", "--raw", path)
    gateway.held = 1
    await cluster.becomes("<1>", *replicas)
    gateway.held = 3
    await cluster.becomes("<3>", *replicas)
    gateway.held, gateway.running = 0, 20
    await cluster.becomes("<2>", *replicas)
    gateway.running = 0
    await cluster.becomes("<0>", *replicas)
    # The server's other replica may still have had the page before this one.
    await asyncio.sleep(SETTLED_SECONDS)
    await cluster.becomes("<0>", *replicas)

    ours = "-o=jsonpath={range .items[?(@.source.component=='gpu-metrics-server')]}{.message}{end}"
    assert await cluster.kubectl("get", "events", ours) == "", "there is nothing to warn about"

    gateway.fails, gateway.held = True, 3
    # The last known value is returned for a minute.
    await asyncio.sleep(SETTLED_SECONDS)
    described = await cluster.becomes("FailedGetExternalMetric", "describe", "hpa", "chat")
    assert "HTTP 500" in described
    await asyncio.sleep(SETTLED_SECONDS)
    assert await cluster.kubectl(*replicas) == "<0>"
    gateway.fails = False
    await cluster.becomes("<3>", *replicas)

    if "ScaledToZero" in described:  # since Kubernetes 1.36
        await cluster.kubectl("scale", "deployment", "chat", "--replicas=0")
        await cluster.becomes("ScalingDisabled", "describe", "hpa", "chat")
        await cluster.kubectl("scale", "deployment", "chat", "--replicas=1")
        await cluster.becomes("<3>", *replicas)
