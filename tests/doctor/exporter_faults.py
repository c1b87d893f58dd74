"""Faults of exporters."""

from metrics_server.simulator import manifests
from metrics_server.simulator.faults import Fault as ExporterFault
from metrics_server.simulator.kube.objects import NODES, PODS, Object
from tests.doctor import scene as scenes
from tests.doctor.fault_table import fault
from tests.doctor.scene import Scene


@fault("exporter-service", "kubectl get endpointslices", others=("no-exporter", "answer"))
async def no_service(scene: Scene) -> None:
    """The exporters' Service does not have the configured name."""
    for node in scenes.NODES:
        labels: Object = {"kubernetes.io/service-name": "my-exporter"}
        scene.slice_of(node, metadata__labels=labels)


@fault(
    "exporter-not-ready",
    "kubectl -n gpu-monitoring describe pods dcgm-exporter-gpu-node-0",
    others=("no-exporter",),
)
async def exporter_not_ready(scene: Scene) -> None:
    """A node's exporter is not Ready."""
    scene.slice_of(scenes.NODES[0], endpoints__0__conditions={"ready": False})


@fault("exporter-node-name", "edit endpointslices", others=("no-exporter",))
async def no_node_name(scene: Scene) -> None:
    """A handmade EndpointSlice does not name its node."""
    scene.slice_of(scenes.NODES[0], endpoints__0__nodeName=None)


@fault("no-exporter", "kubectl label nodes gpu-node-9 nvidia.com/gpu=present")
async def bare_node(scene: Scene) -> None:
    """A node with GPUs has no exporter."""
    scene.api.apply(NODES, manifests.node("gpu-node-9", 4))


@fault(
    "exporters-failed",
    "delete pod dcgm-exporter-gpu-node-0",
    others=("exporters-failed",),
)
async def exporter_down(scene: Scene) -> None:
    """A node's exporter refuses connections."""
    await scene.cluster.set_fault(ExporterFault("down"), exporters=1)


@fault(
    "exporters-failed",
    "rollout restart daemonset/dcgm-exporter",
    others=("exporters-failed", "answer", "hpa-inactive"),
)
async def exporters_down(scene: Scene) -> None:
    """All exporters refuse connections, and the HPA gets no value."""
    await scene.cluster.set_fault(ExporterFault("down"))
    condition: Object = {
        "type": "ScalingActive",
        "status": "False",
        "reason": "FailedGetPodsMetric",
        "message": "0 of 2 pods have a measurement",
    }
    scene.hpa(scenes.PODS_METRIC, status={"currentReplicas": 2, "conditions": [condition]})


@fault("exporters-failed", "logs dcgm-exporter-gpu-node-0", others=("exporters-failed",))
async def exporter_error(scene: Scene) -> None:
    """A node's exporter answers with HTTP 500."""
    await scene.cluster.set_fault(ExporterFault("error"), exporters=1)


@fault("exporters-failed", "logs dcgm-exporter-gpu-node-0", others=("exporters-failed",))
async def exporter_garbage(scene: Scene) -> None:
    """Something other than an exporter listens on its port."""
    await scene.cluster.set_fault(ExporterFault("garbage"), exporters=1)


@fault("unknown-exporter", "dialects", others=("no-sample",))
async def unknown_exporter(scene: Scene) -> None:
    """The server does not know this kind of exporter."""
    await scene.exporter(scenes.NODES[0], 'habana_utilization{card="0"} 40\n')


@fault(
    "empty-page",
    "kubectl logs -n gpu-monitoring dcgm-exporter-gpu-node-0",
    others=("no-sample",),
)
async def empty_page(scene: Scene) -> None:
    """The exporter finds no GPUs, and serves an empty page."""
    await scene.exporter(scenes.NODES[0], "")


@fault("no-pod-labels", "DCGM_EXPORTER_KUBERNETES=true", others=("no-sample", "answer"))
async def no_pod_labels(scene: Scene) -> None:
    """The exporters do not ask the kubelet which pod has which GPU."""
    await scene.cluster.set_fault(ExporterFault("unlabelled"))


@fault("no-sample", "get pod recreated")
async def not_on_the_page(scene: Scene) -> None:
    """A Ready pod is not on its node's page."""
    pod = scene.api.store.get(PODS, manifests.NAMESPACE, scene.pod_name)
    assert pod is not None
    meta: Object = {"name": "recreated", "namespace": "default", "labels": {"app": "other"}}
    scene.api.apply(PODS, {**pod, "metadata": meta})
