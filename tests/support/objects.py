"""Kubernetes objects for tests."""

from collections.abc import Mapping

from metrics_server.simulator.kube.objects import Object


def pod(
    name: str,
    *,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    node: str = "gpu-0",
    gpus: int = 1,
    resource: str = "nvidia.com/gpu",
    phase: str = "Running",
    ready: bool = True,
    deleted: bool = False,
) -> Object:
    """A core/v1 Pod; its labels are `app: inference` by default."""
    metadata: Object = {
        "name": name,
        "namespace": namespace,
        "labels": {**(labels if labels is not None else {"app": "inference"})},
    }
    if deleted:
        metadata["deletionTimestamp"] = "2026-11-24T08:32:41Z"
    limits: Object = {resource: str(gpus)} if gpus else {"cpu": "1"}
    return {
        "metadata": metadata,
        "spec": {
            "nodeName": node,
            "containers": [{"name": "server", "resources": {"limits": limits}}],
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }
