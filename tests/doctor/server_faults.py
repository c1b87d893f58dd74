"""Faults of the control plane and of the server."""

import base64
from datetime import timedelta

from aiohttp import web

from metrics_server.api.types import CUSTOM_GROUP, CUSTOM_VERSIONS, GROUP, VERSION
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
from tests.doctor.fault_table import WORKLOAD, fault
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
    """kube-apiserver cannot reach the server."""
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
    """The APIService skips verification."""
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


async def _is_down(scene: Scene, reason: str, message: str) -> None:
    """No replica is Ready: kube-apiserver answers for it, and the HPA gets nothing."""
    container: Object = {
        "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "Error"}},
    }
    status: Object = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [container],
    }
    scene.change(PODS, scenes.SERVER_NAMESPACE, f"{installation.SERVER}-1", status=status)
    await _is_unavailable(scene, reason, message)


async def _is_unavailable(scene: Scene, reason: str, message: str) -> None:
    condition: Object = {
        "type": "Available",
        "status": "False",
        "reason": reason,
        "message": message,
    }
    for name in installation.API_SERVICE_NAMES:
        scene.change(API_SERVICES, "", name, status__conditions=[condition])

    async def unavailable(_: web.Request) -> web.Response:
        text = "the server is currently unable to handle the request"
        return web.json_response({"kind": "Status", "message": text}, status=503)

    scene.api.aggregate(GROUP, VERSION, unavailable)
    for version in CUSTOM_VERSIONS:
        scene.api.aggregate(CUSTOM_GROUP, version, unavailable)
    inactive: Object = {
        "type": "ScalingActive",
        "status": "False",
        "reason": "FailedGetPodsMetric",
        "message": "the server is currently unable to handle the request",
    }
    scene.hpa(scenes.PODS_METRIC, status={"currentReplicas": 2, "conditions": [inactive]})


_DOWN = ("apiservice-unavailable", "answer", "hpa-inactive")


@fault("server-not-ready", "logs gpu-metrics-server-1 --previous", others=_DOWN)
async def crash_loop(scene: Scene) -> None:
    """The server crashes on startup."""
    await _is_down(scene, "MissingEndpoints", "endpoints have no addresses")


@fault(
    "configuration",
    "rollout restart deployment/gpu-metrics-server",
    others=("server-not-ready", *_DOWN),
)
async def bad_start(scene: Scene) -> None:
    """The server does not start with its ConfigMap."""
    scene.config_map("fallbacks: {chain: [error]}\n")
    await _is_down(scene, "MissingEndpoints", "endpoints have no addresses")


@fault("ca-bundle", "events --for apiservice/v1beta2.custom.metrics.k8s.io", others=_DOWN)
async def rejected(scene: Scene) -> None:
    """Another writer has replaced a caBundle, so kube-apiserver rejects the server."""
    theirs = base64.b64encode(Authority("keda").bundle).decode()
    await _is_unavailable(scene, "FailedDiscoveryCheck", "x509: unknown authority")
    name = installation.API_SERVICE_NAMES[1]
    scene.change(API_SERVICES, "", name, spec__caBundle=theirs)
    other = installation.API_SERVICE_NAMES[0]
    available: Object = {"type": "Available", "status": "True", "reason": "Passed", "message": ""}
    scene.change(API_SERVICES, "", other, status__conditions=[available])


@fault("apiservice-owner", "kubectl delete apiservice", others=("answer",), **WORKLOAD)
async def keda_answers(scene: Scene) -> None:
    """KEDA has registered the external metrics API, and does not know the metric."""
    keda: Object = {"namespace": "keda", "name": "keda-operator-metrics-apiserver", "port": 443}
    scene.api_service(spec__service=keda)

    async def unknown(_: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "message": "no scaled object"}, status=404)

    scene.api.aggregate(GROUP, VERSION, unknown)


@fault("shutdown", "logs gpu-metrics-server-1")
async def stopping(scene: Scene) -> None:
    """The server's /readyz says that it is about to stop."""
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
