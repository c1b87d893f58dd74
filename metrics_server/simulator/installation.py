"""The objects of a server that is installed and works, as `deployments` has them."""

import base64
from collections.abc import Sequence

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import (
    API_SERVICES,
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    PODS,
    SERVICES,
    Json,
    Object,
)
from metrics_server.simulator.manifests import EXPORTER_NAMESPACE, EXPORTER_SERVICE

SERVER = "gpu-metrics-server"
API_SERVICE_NAMES = ("v1beta1.external.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io")
_LABELS: dict[str, Json] = {"app.kubernetes.io/name": SERVER}
_ADDRESS = "127.0.0.1"
_EXPORTER_CONTAINER: Object = {
    "name": EXPORTER_SERVICE,
    "image": f"{EXPORTER_SERVICE}:simulated",
}
_DAEMON_SET_COUNTS = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "updatedNumberScheduled",
    "numberReady",
    "numberAvailable",
)
_READY: list[Json] = [{"type": "Ready", "status": "True"}]


def install(
    api: KubernetesAPI,
    *,
    bundle: bytes,
    port: int,
    image: str,
    nodes: Sequence[str],
    config: str = "",
) -> None:
    """Create the objects.

    Args:
        api: the Kubernetes API.
        bundle: the authority of the server's certificate, PEM.
        port: where the server listens.
        image: the server's image.
        nodes: the nodes with exporters, whose pods are created too.
        config: the configuration, YAML.
    """
    for name in API_SERVICE_NAMES:
        api.apply(API_SERVICES, api_service(name, bundle))
    api.apply(SERVICES, service())
    api.apply(DEPLOYMENTS, deployment(image))
    api.apply(CONFIG_MAPS, config_map(SERVER, "config.yaml", config))
    api.apply(CONFIG_MAPS, config_map(f"{SERVER}-ca", "ca.crt", bundle.decode()))
    api.apply(PODS, server_pod(port, image))
    api.apply(DAEMON_SETS, exporter_daemon_set(len(nodes)))
    for node in nodes:
        api.apply(PODS, exporter_pod(node))


def api_service(name: str, bundle: bytes) -> Object:
    """Return an Available apiregistration.k8s.io/v1 APIService."""
    version, _, group = name.partition(".")
    return {
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"namespace": EXPORTER_NAMESPACE, "name": SERVER, "port": 443},
            "caBundle": base64.b64encode(bundle).decode(),
        },
        "status": {
            "conditions": [
                {
                    "type": "Available",
                    "status": "True",
                    "reason": "Passed",
                    "message": "all checks passed",
                }
            ]
        },
    }


def service() -> Object:
    """Return the server's Service."""
    return {
        "metadata": {"name": SERVER, "namespace": EXPORTER_NAMESPACE},
        "spec": {"selector": {**_LABELS}, "ports": [{"port": 443, "targetPort": "https"}]},
    }


def deployment(image: str) -> Object:
    """Return the server's Deployment, with one Ready replica."""
    folder = f"/etc/{SERVER}"
    return {
        "metadata": {"name": SERVER, "namespace": EXPORTER_NAMESPACE, "labels": {**_LABELS}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {**_LABELS}},
            "template": {
                "metadata": {"labels": {**_LABELS}},
                "spec": {
                    "serviceAccountName": SERVER,
                    "containers": [
                        {
                            "name": SERVER,
                            "image": image,
                            "args": [
                                "serve",
                                "--self-managed-certs",
                                f"--config={folder}/config.yaml",
                            ],
                            "volumeMounts": [{"name": "config", "mountPath": folder}],
                        }
                    ],
                    "volumes": [{"name": "config", "configMap": {"name": SERVER}}],
                },
            },
        },
        "status": dict.fromkeys(
            ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1
        ),
    }


def config_map(name: str, key: str, text: str) -> Object:
    """Return a ConfigMap of the server."""
    return {"metadata": {"name": name, "namespace": EXPORTER_NAMESPACE}, "data": {key: text}}


def server_pod(port: int, image: str) -> Object:
    """Return the server's pod."""
    return {
        "metadata": {
            "name": f"{SERVER}-1",
            "namespace": EXPORTER_NAMESPACE,
            "labels": {**_LABELS},
        },
        "spec": {
            "nodeName": "",
            "containers": [
                {
                    "name": SERVER,
                    "image": image,
                    "ports": [{"name": "https", "containerPort": port}],
                }
            ],
        },
        "status": _running(SERVER),
    }


def exporter_pod_name(node: str) -> str:
    """Return the name of the pod of a node's exporter."""
    return f"{EXPORTER_SERVICE}-{node}"


def exporter_daemon_set(nodes: int) -> Object:
    """Return the DaemonSet of the exporters, with one Ready pod on each of this many nodes."""
    labels: dict[str, Json] = {"app.kubernetes.io/name": EXPORTER_SERVICE}
    return {
        "metadata": {
            "name": EXPORTER_SERVICE,
            "namespace": EXPORTER_NAMESPACE,
            "labels": {**labels},
            "generation": 1,
        },
        "spec": {
            "selector": {"matchLabels": {**labels}},
            "template": {
                "metadata": {"labels": {**labels}},
                "spec": {"containers": [{**_EXPORTER_CONTAINER}]},
            },
            "updateStrategy": {"type": "RollingUpdate"},
        },
        "status": {"observedGeneration": 1, **dict.fromkeys(_DAEMON_SET_COUNTS, nodes)},
    }


def exporter_pod(node: str) -> Object:
    """Return the pod of a node's exporter, which its EndpointSlice names."""
    return {
        "metadata": {
            "name": exporter_pod_name(node),
            "namespace": EXPORTER_NAMESPACE,
            "labels": {"app.kubernetes.io/name": EXPORTER_SERVICE},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": EXPORTER_SERVICE}
            ],
        },
        "spec": {
            "nodeName": node,
            "containers": [{**_EXPORTER_CONTAINER}],
        },
        "status": _running(EXPORTER_SERVICE),
    }


def _running(container: str) -> Object:
    return {
        "phase": "Running",
        "podIP": _ADDRESS,
        "conditions": [*_READY],
        "containerStatuses": [{"name": container, "ready": True}],
    }
