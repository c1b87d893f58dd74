"""The Kubernetes objects of the demo, as a real cluster has them."""

from datetime import UTC, datetime

from metrics_server.simulator.autoscaler import Decision, HorizontalPodAutoscaler, quantity
from metrics_server.simulator.gpus.workload import SimulatedPod
from metrics_server.simulator.kube.objects import Object

APP = "inference"
NAMESPACE = "default"
EXPORTER_NAMESPACE = "gpu-monitoring"
EXPORTER_SERVICE = "dcgm-exporter"


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


def pod(simulated: SimulatedPod, deleted_at: float | None) -> Object:
    """Return a core/v1 Pod that requests GPUs; terminating, if it has been deleted."""
    gpus = {"nvidia.com/gpu": str(len(simulated.gpus))}
    metadata: Object = {
        "name": simulated.name,
        "namespace": simulated.namespace,
        "labels": {"app": APP},
    }
    if deleted_at is not None:
        deleted = datetime.fromtimestamp(deleted_at, UTC)
        metadata["deletionTimestamp"] = f"{deleted:%Y-%m-%dT%H:%M:%SZ}"
    ready = "True" if simulated.ready else "False"
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
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": simulated.container, "ready": simulated.ready}],
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
        "status": {"replicas": replicas, "readyReplicas": ready},
    }


def horizontal_pod_autoscaler(hpa: HorizontalPodAutoscaler, decision: Decision | None) -> Object:
    """Return the autoscaling/v2 HorizontalPodAutoscaler, with its last decision."""
    metric: Object = {"name": hpa.metric, "selector": {"matchLabels": {"app": APP}}}
    obj: Object = {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v2",
        "metadata": {"name": APP, "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
            "minReplicas": hpa.min_replicas,
            "maxReplicas": hpa.max_replicas,
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": {**metric},
                        "target": {"type": hpa.target_type, "value": quantity(hpa.target)},
                    },
                }
            ],
            "behavior": {
                "scaleDown": {"stabilizationWindowSeconds": int(hpa.stabilization_window)}
            },
        },
    }
    if decision is not None:
        value = "" if decision.current is None else quantity(decision.current)
        obj["status"] = {
            "desiredReplicas": decision.replicas,
            "currentMetrics": [
                {"type": "External", "external": {"metric": metric, "current": {"value": value}}}
            ],
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
