"""Faults of the control plane and of the server."""

import base64
from datetime import timedelta

from metrics_server.simulator import installation
from metrics_server.simulator.kube.objects import (
    API_SERVICES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    PODS,
    Object,
)
from metrics_server.tls.authority import Authority
from tests.doctor import scene as scenes
from tests.doctor.fault_table import fault
from tests.doctor.scene import Scene

_CONTROLLER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
_SERVER = "system:serviceaccount:gpu-monitoring:gpu-metrics-server"
_CA = f"{installation.SERVER}-ca"


@fault("clock", "timedatectl")
async def clock(scene: Scene) -> None:
    """The control plane's clock is an hour ahead."""
    scene.api.faults.skew_clock(3600)


@fault("versions", "kubectl version")
async def versions(scene: Scene) -> None:
    """Kubernetes is too old for autoscaling/v2."""
    scene.api.version = "v1.22.17"


@fault("apiservice-missing", "kubectl apply -f deployments/apiservice.yaml")
async def no_api_service(scene: Scene) -> None:
    """The APIService was deleted."""
    scene.api.delete(API_SERVICES, "", installation.API_SERVICE_NAMES[0])


@fault("apiservice-owner", "kubectl delete apiservice v1beta1.external.metrics.k8s.io")
async def of_keda(scene: Scene) -> None:
    """KEDA has registered the external metrics API."""
    keda: Object = {"namespace": "keda", "name": "keda-operator-metrics-apiserver", "port": 443}
    scene.api_service(spec__service=keda)


@fault("apiservice-unavailable", "let the control plane reach TCP 6443")
async def unavailable(scene: Scene) -> None:
    """kube-apiserver does not reach the server."""
    condition: Object = {
        "type": "Available",
        "status": "False",
        "reason": "FailedDiscoveryCheck",
        "message": "Get https://10.0.0.9:6443: context deadline exceeded",
    }
    scene.api_service(status__conditions=[condition])


@fault("ca-bundle", "kubectl -n gpu-monitoring rollout restart deployment/gpu-metrics-server")
async def wrong_bundle(scene: Scene) -> None:
    """Another writer has replaced the caBundle."""
    theirs = Authority("keda").bundle
    scene.api_service(spec__caBundle=base64.b64encode(theirs).decode())


@fault("ca-bundle", "grep 'CA bundle'")
async def no_bundle(scene: Scene) -> None:
    """The caBundle is empty."""
    scene.api_service(spec__caBundle="")


@fault("ca-bundle", '"insecureSkipTLSVerify":null')
async def unverified(scene: Scene) -> None:
    """The APIService skips the verification."""
    scene.api_service(spec__caBundle="", spec__insecureSkipTLSVerify=True)


@fault("certificate", "rollout restart")
async def expiring(scene: Scene) -> None:
    """The CA certificate expires in two days."""
    bundle = Authority("gpu-metrics-server", timedelta(days=2)).bundle
    for name in installation.API_SERVICE_NAMES:
        scene.change(API_SERVICES, "", name, spec__caBundle=base64.b64encode(bundle).decode())
    scene.api.apply(CONFIG_MAPS, installation.config_map(_CA, "ca.crt", bundle.decode()))


@fault("server-missing", "kubectl apply -k deployments")
async def no_server(scene: Scene) -> None:
    """The server is not installed."""
    scene.api.delete(DEPLOYMENTS, scenes.SERVER_NAMESPACE, installation.SERVER)
    scene.api.delete(PODS, scenes.SERVER_NAMESPACE, f"{installation.SERVER}-1")


@fault("server-not-ready", "describe pods")
async def crashing(scene: Scene) -> None:
    """The server's container does not start."""
    status: Object = {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}],
    }
    scene.change(PODS, scenes.SERVER_NAMESPACE, f"{installation.SERVER}-1", status=status)


@fault("shutdown", "logs gpu-metrics-server-1")
async def stopping(scene: Scene) -> None:
    """The server says by /readyz that it is about to stop."""
    scene.server.stopping.set()


@fault("configuration", "edit configmap gpu-metrics-server")
async def bad_configuration(scene: Scene) -> None:
    """The ConfigMap has a setting that does not exist."""
    scene.config_map("fallbacks: {chain: [error]}\n")


@fault("server-rights", "kubectl apply -f deployments/rbac.yaml")
async def server_rights(scene: Scene) -> None:
    """The server's ClusterRole is not bound."""
    scene.denied.add((_SERVER, "pods"))


@fault("forbidden", "kubectl create clusterrolebinding")
async def controller_rights(scene: Scene) -> None:
    """The HPA controller may not read external metrics."""
    scene.denied.add((_CONTROLLER, "gpu_utilization"))
