"""The Kubernetes objects of the demo, as a real cluster has them."""

from datetime import UTC, datetime

from metrics_server.simulator.autoscaling.hpa import (
    Decision,
    HorizontalPodAutoscaler,
    Metric,
    PodsMetric,
    quantity,
)
from metrics_server.simulator.gpus.workload import SimulatedPod
from metrics_server.simulator.kube.objects import Json, Object

APP = "inference"
SELECTOR = f"app={APP}"
NAMESPACE = "default"
GATEWAY = "inference-gateway"
GATEWAY_SELECTOR = f"app={GATEWAY}"
EXPORTER_NAMESPACE = "gpu-monitoring"
EXPORTER_SERVICE = "dcgm-exporter"


# The hash of the pods' ReplicaSet, which identifies them as the Deployment's.
_HASH = "7d4b9"
_ADDRESS: Object = {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}


def node(name: str, gpus: int) -> Object:
    """Return a core/v1 Node with GPUs."""
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"nvidia.com/gpu": "present"}},
        "status": {
            "capacity": {"nvidia.com/gpu": str(gpus)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def endpoint_slice(node_name: str, port: int) -> Object:
    """Return the discovery.k8s.io/v1 EndpointSlice of one node's exporter.

    A slice has one port for all its endpoints, and here each exporter has a different port.
    """
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": f"{EXPORTER_SERVICE}-{node_name}",
            "namespace": EXPORTER_NAMESPACE,
            "labels": {"kubernetes.io/service-name": EXPORTER_SERVICE},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": ["127.0.0.1"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": node_name,
                "targetRef": {
                    "kind": "Pod",
                    "namespace": EXPORTER_NAMESPACE,
                    "name": f"{EXPORTER_SERVICE}-{node_name}",
                },
            }
        ],
        "ports": [{"name": "metrics", "protocol": "TCP", "port": port}],
    }


def pod(simulated: SimulatedPod, deleted_at: float | None, page_port: int | None = None) -> Object:
    """Return a core/v1 Pod that requests GPUs.

    Args:
        simulated: the pod.
        deleted_at: when it was deleted: it is terminating then.
        page_port: the port of its own metrics page, on 127.0.0.1; None if it has no such page.
    """
    gpus = {"nvidia.com/gpu": str(len(simulated.gpus))}
    metadata: Object = {
        "name": simulated.name,
        "namespace": simulated.namespace,
        "labels": {"app": APP, "pod-template-hash": _HASH},
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": f"{APP}-{_HASH}",
                "uid": "00000000-0000-0000-0000-000000000001",
                "controller": True,
            }
        ],
    }
    if deleted_at is not None:
        deleted = datetime.fromtimestamp(deleted_at, UTC)
        metadata["deletionTimestamp"] = f"{deleted:%Y-%m-%dT%H:%M:%SZ}"
    ready = "True" if simulated.ready else "False"
    if page_port is not None:
        metadata["annotations"] = {"prometheus.io/port": str(page_port)}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {
            "nodeName": simulated.node,
            "containers": [
                {
                    "name": simulated.container,
                    "image": "simulated",
                    "resources": {"limits": {**gpus}, "requests": {**gpus}},
                }
            ],
        },
        "status": {
            "phase": "Running",
            **({} if page_port is None else _ADDRESS),
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": simulated.container, "ready": simulated.ready}],
        },
    }


def gateway_pod(page_port: int) -> Object:
    """Return the core/v1 Pod of the inference gateway's endpoint picker.

    Args:
        page_port: the port of its metrics page, on 127.0.0.1.
    """
    name = f"{GATEWAY}-0001"
    container: Object = {
        "name": "endpoint-picker",
        "image": "simulated",
        "ports": [{"name": "metrics", "containerPort": page_port}],
    }
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": GATEWAY}},
        "spec": {"nodeName": "gpu-node-0", "containers": [container]},
        "status": {
            "phase": "Running",
            **_ADDRESS,
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "endpoint-picker", "ready": True}],
        },
    }


def deployment(wanted: int, replicas: int, ready: int) -> Object:
    """Return the apps/v1 Deployment, with its spec.replicas, pods, and Ready pods."""
    return {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": APP, "namespace": NAMESPACE},
        "spec": {
            "replicas": wanted,
            "selector": {"matchLabels": {"app": APP}},
            "template": {"metadata": {"labels": {"app": APP}}},
        },
        "status": {
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": ready,
            "availableReplicas": ready,
        },
    }


def horizontal_pod_autoscaler(
    hpa: HorizontalPodAutoscaler, replicas: int, decision: Decision | None
) -> Object:
    """Return the autoscaling/v2 HorizontalPodAutoscaler, with its last decision.

    Args:
        hpa: its spec.
        replicas: the number of replicas before the decision.
        decision: the decision; None if there was none yet.
    """
    metrics: list[Json] = [_metric_with_target(metric) for metric in hpa.metrics]
    obj: Object = {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v2",
        "metadata": {"name": APP, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
            "minReplicas": hpa.min_replicas,
            "maxReplicas": hpa.max_replicas,
            "metrics": metrics,
            "behavior": _behavior(hpa),
        },
    }
    if decision is not None:
        current: list[Json] = [
            {"type": ""} if value is None else _metric_with_current(metric, value)
            for metric, value in zip(hpa.metrics, decision.current, strict=True)
        ]
        obj["status"] = {
            "currentReplicas": replicas,
            "desiredReplicas": decision.replicas,
            "currentMetrics": current,
            "conditions": [
                {
                    "type": condition.type,
                    "status": condition.status,
                    "reason": condition.reason,
                    "message": condition.message,
                }
                for condition in decision.conditions
            ],
        }
    return obj


def _metric_with_target(metric: Metric) -> Object:
    target: Object = {"type": metric.target_type, _field(metric): quantity(metric.target)}
    return _metric(metric, "target", target)


def _metric_with_current(metric: Metric, value: int) -> Object:
    return _metric(metric, "current", {_field(metric): quantity(value)})


def _field(metric: Metric) -> str:
    return "averageValue" if metric.target_type == "AverageValue" else "value"


def _behavior(hpa: HorizontalPodAutoscaler) -> Object:
    down: Object = {"stabilizationWindowSeconds": int(hpa.stabilization_window)}
    if hpa.scale_up_pods is None:
        return {"scaleDown": down}
    policy: Object = {"type": "Pods", "value": hpa.scale_up_pods, "periodSeconds": 15}
    return {"scaleDown": down, "scaleUp": {"policies": [policy]}}


def _metric(metric: Metric, key: str, value: Object) -> Object:
    """Return a metric with its target or its current value."""
    if isinstance(metric, PodsMetric):
        return {"type": "Pods", "pods": {"metric": {"name": metric.name}, key: value}}
    labels: Object = {}
    for pair in metric.selector.split(","):
        label, _, wanted = pair.partition("=")
        labels[label] = wanted
    identifier: Object = {"name": metric.name, "selector": {"matchLabels": labels}}
    return {"type": "External", "external": {"metric": identifier, key: value}}
