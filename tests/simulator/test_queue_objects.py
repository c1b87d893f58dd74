"""The queue demo's objects, and a controller with several metrics."""

import msgspec
from aiohttp import web

from metrics_server.api.types import GROUP, VERSION
from metrics_server.kube.pods import pod_decoder
from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    ExternalMetric,
    History,
    HorizontalPodAutoscaler,
    Item,
    MetricUnavailable,
    Scale,
    ScaledPod,
)
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.controller import Controller, Reading
from metrics_server.simulator.gpus.workload import Load, SimulatedPod
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import AUTOSCALERS, Json, Object
from metrics_server.tls.authority import Authority
from tests.deployments.manifests import at
from tests.support.schemas import validate

QUEUE = ExternalMetric("queue", "app=gateway,tier=llm", "AverageValue", 4000)
LOAD = ExternalMetric("load", "app=inference", "Value", 50_000)
HPA = HorizontalPodAutoscaler(
    namespace="default", metrics=(QUEUE, LOAD), min_replicas=0, max_replicas=8
)
VERSION_CHECKED = "1.34"


def test_an_hpa_with_several_metrics_is_valid() -> None:
    """Each metric has its target, and a current value or none."""
    scale = Scale(1, 1, (ScaledPod("a"),))
    decision = decide(HPA, scale, ((Item(12_000),), MetricUnavailable("no")), History(), 0)
    obj = manifests.horizontal_pod_autoscaler(HPA, 1, decision)
    validate(obj, VERSION_CHECKED)
    identifier: Object = {
        "name": "queue",
        "selector": {"matchLabels": {"app": "gateway", "tier": "llm"}},
    }
    assert at(obj, "spec", "minReplicas") == 0
    assert at(obj, "spec", "metrics", 0, "external", "metric") == identifier
    assert at(obj, "spec", "metrics", 1, "external", "target", "value") == "50"
    current: list[Json] = [
        {"type": "External", "external": {"metric": identifier, "current": {"averageValue": "12"}}},
        {"type": ""},
    ]
    assert at(obj, "status", "currentMetrics") == current


def test_pods_say_where_their_pages_are() -> None:
    """The product reads each page's address; a pod without a page has none."""
    simulated = SimulatedPod("default", "a", "vllm", "gpu-node-0", ("GPU-0",), ready=True)
    decode = pod_decoder(endpoints=True)
    for obj, port, ports in (
        (manifests.pod(simulated, None, 8123), "8123", ()),
        (manifests.gateway_pod(9123), "", (("metrics", 9123),)),
    ):
        read = decode(msgspec.json.encode(obj)).endpoint
        assert read is not None
        assert (read.ip, read.port, read.ports) == ("127.0.0.1", port, ports)
    assert "podIP" not in msgspec.json.encode(manifests.pod(simulated, None)).decode()


async def test_each_metric_is_requested() -> None:
    """In order; a failing one does not affect the others; others can be read besides."""
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        if "/load?" in request.raw_path:
            return web.json_response({"message": "no pod"}, status=503)
        labels = {"source": "pods", "pods": "1/1"}
        values = [{"value": "5", "metricLabels": labels}, {"value": "7", "metricLabels": labels}]
        return web.json_response({"items": values})

    async with (
        KubernetesAPI() as api,
        Cluster(api, nodes=2, load=Load(), loading_seconds=0, deleting_seconds=0) as cluster,
    ):
        api.aggregate(GROUP, VERSION, answer)
        cluster.scale(1, ready=True)
        bundle = Authority("kubernetes").bundle
        async with Controller(HPA, cluster, api, bundle, lambda: 0.0) as controller:
            sync = await controller.sync()
            assert await controller.read(LOAD) is None
            assert await controller.read(QUEUE) == 12_000
        assert cluster.replicas == 3
    path = f"/apis/{GROUP}/{VERSION}/namespaces/default"
    assert asked[:2] == [
        f"{path}/queue?labelSelector=app%3Dgateway%2Ctier%3Dllm",
        f"{path}/load?labelSelector=app%3Dinference",
    ]
    assert sync.readings == (Reading("pods", "1/1", 12_000), Reading("error", ""))
    stored = msgspec.json.encode(api.store.get(AUTOSCALERS, "default", "inference")).decode()
    assert '"desiredReplicas":3' in stored
