"""Faults of workloads and their HPAs."""

from aiohttp import web

from metrics_server.api.types import GROUP, VERSION
from metrics_server.simulator import manifests
from metrics_server.simulator.kube.objects import DEPLOYMENTS, PODS, Json, Object
from tests.doctor import scene as scenes
from tests.doctor.fault_table import HPA, WORKLOAD, fault
from tests.doctor.scene import Scene


def _external(name: str, target: str) -> str:
    return (
        f"[{{type: External, external: {{metric: {{name: {name}, "
        f"selector: {{matchLabels: {{app: inference}}}}}}, target: {target}}}}}]"
    )


@fault(
    "no-pod-matches",
    "get pods --show-labels",
    others=("answer",),
    namespace="default",
    selector="app=inferense",
)
async def wrong_selector(_: Scene) -> None:
    """The selector has a typo."""


@fault("no-gpu-requested", "--limits=nvidia.com/gpu=1", others=("answer",), **WORKLOAD)
async def no_gpu(scene: Scene) -> None:
    """The pods do not request a GPU."""
    for pod in scene.cluster.pods:
        scene.change(
            PODS, "default", pod.name, spec__containers__0__resources={"limits": {"cpu": "1"}}
        )


@fault("no-pod-measurable", "describe pods -l app=inference", others=("answer",), **WORKLOAD)
async def not_ready(scene: Scene) -> None:
    """No pod of the workload is Ready."""
    for pod in scene.cluster.pods:
        conditions: list[Json] = [{"type": "Ready", "status": "False"}]
        scene.change(PODS, "default", pod.name, status__conditions=conditions)


@fault(
    "unknown-metric",
    "gpu-metrics-server rules",
    metric="gpu_utilisation",
    **WORKLOAD,
)
async def unknown_metric(_: Scene) -> None:
    """The metric's name has a typo."""


@fault(
    "counter-asked",
    "gpu-metrics-server rules",
    metric="DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    **WORKLOAD,
)
async def counter(_: Scene) -> None:
    """The metric is a counter."""


@fault("no-hpa", "kubectl get hpa -n default", namespace="default", hpa="inferense")
async def no_hpa(_: Scene) -> None:
    """The HPA does not exist."""


@fault("hpa-target", "correct scaleTargetRef", **HPA)
async def no_target(scene: Scene) -> None:
    """The HPA's target does not exist."""
    condition: Object = {
        "type": "AbleToScale",
        "status": "False",
        "reason": "FailedGetScale",
        "message": 'deployments.apps "web" not found',
    }
    scene.hpa(scenes.PODS_METRIC, status={"currentReplicas": 2, "conditions": [condition]})


@fault("hpa-inactive", "describe hpa inference", **HPA)
async def inactive(scene: Scene) -> None:
    """The HPA gets no metric."""
    condition: Object = {
        "type": "ScalingActive",
        "status": "False",
        "reason": "FailedGetPodsMetric",
        "message": "unable to get metric gpu_utilization",
    }
    scene.hpa(scenes.PODS_METRIC, status={"currentReplicas": 2, "conditions": [condition]})


@fault("metric-blocks-scale-down", "describe hpa inference", **HPA)
async def second_metric(scene: Scene) -> None:
    """The HPA's second metric fails."""
    queue = (
        ", {type: External, external: {metric: {name: queue_length}, "
        'target: {type: AverageValue, averageValue: "5"}}}]'
    )
    scene.hpa(scenes.PODS_METRIC.removesuffix("]") + queue)


@fault("scale-to-zero", '"minReplicas":1', **HPA)
async def to_zero(scene: Scene) -> None:
    """MinReplicas is 0, and the only metric is of the pods themselves."""
    scene.hpa(scenes.PODS_METRIC, minReplicas=0)


@fault("MeanUnderAverageValue", "edit hpa inference")
async def mean(scene: Scene) -> None:
    """The HPA has a mean under AverageValue."""
    scene.hpa(_external("gpu_utilization", '{type: AverageValue, averageValue: "70"}'))


@fault("SumUnderValue", "edit hpa inference")
async def total(scene: Scene) -> None:
    """The HPA has a sum under Value."""
    scene.hpa(_external("gpu_utilization_sum", '{type: Value, value: "70"}'))


@fault("MetricNameUnknown", "edit hpa inference", others=("unknown-metric",))
async def misspelled(scene: Scene) -> None:
    """The HPA misspells the metric."""
    scene.hpa(_external("gpu_utilisation", '{type: Value, value: "70"}'), status={})


@fault("SelectorMatchesNoPods", "edit hpa inference", others=("no-pod-matches", "answer"))
async def no_pods(scene: Scene) -> None:
    """The HPA's selector matches no pods."""
    metric = _external("gpu_utilization", '{type: Value, value: "70"}')
    scene.hpa(metric.replace("app: inference", "app: inferense"))


@fault("fallback", "Failed to get real metrics", **WORKLOAD)
async def fallback(scene: Scene) -> None:
    """The HPA gets a simulated value."""
    item: Object = {
        "metricName": "gpu_utilization",
        "metricLabels": {"source": "simulated"},
        "timestamp": "2026-11-26T09:00:00Z",
        "value": "71",
    }

    async def simulated(_: web.Request) -> web.Response:
        return web.json_response({"kind": "ExternalMetricValueList", "items": [item]})

    scene.api.aggregate(GROUP, VERSION, simulated)


@fault("answer", "kubectl get --raw '/apis/external.metrics.k8s.io/v1beta1/", **WORKLOAD)
async def another_answers(scene: Scene) -> None:
    """Another server answers, and does not know the metric."""

    async def unknown(_: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "message": "no such metric"}, status=404)

    scene.api.aggregate(GROUP, VERSION, unknown)


@fault("selector-unknown", "get deployments,statefulsets,services", **HPA)
async def no_deployment(scene: Scene) -> None:
    """The HPA's Deployment was deleted."""
    scene.api.delete(DEPLOYMENTS, manifests.NAMESPACE, manifests.APP)
