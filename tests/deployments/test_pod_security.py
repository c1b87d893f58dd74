"""Pods of the manifests are restricted."""

import pytest

from metrics_server.config.sections import Config
from metrics_server.simulator.kube.objects import Object
from tests.deployments.manifests import (
    DEPLOYMENTS,
    SERVER,
    at,
    build,
    find,
    items,
    mapping,
    pod_spec,
    read,
    texts,
)
from tests.support.overlays import FOLDERS

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(spec: Object) -> set[str]:
    """The violations of the Pod Security Standard "restricted" in a pod.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    found = {key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)}
    for volume in items(spec, "volumes"):
        found |= {f"volume {kind}" for kind in mapping(volume) if kind not in {"name", *VOLUMES}}
    for container in [*items(spec, "initContainers"), *items(spec, "containers")]:
        own = mapping(container, "securityContext")
        both: Object = {**mapping(spec, "securityContext"), **own}
        seccomp = at(both, "seccompProfile", "type")
        checks = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities.drop": "ALL" in texts(own, "capabilities", "drop"),
            "capabilities.add": set(texts(own, "capabilities", "add")) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": seccomp in ("RuntimeDefault", "Localhost"),
            "hostPort": not any(at(port, "hostPort") for port in items(container, "ports")),
        }
        found |= {name for name, holds in checks.items() if not holds}
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_server_is_restricted(folder: str) -> None:
    """The server's pods meet 'restricted', with a numeric non-root user and a read-only root."""
    spec = pod_spec(find(build(folder), "Deployment", SERVER))
    assert violations(spec) == set()
    # OpenShift assigns each namespace its users, and rejects all others.
    number = None if folder == "overlays/openshift" else 65532
    assert at(spec, "securityContext", "runAsUser") == number
    assert at(spec, "securityContext", "runAsNonRoot") is True
    assert at(spec, "containers", 0, "securityContext", "readOnlyRootFilesystem") is True


def test_what_is_not_restricted_is_found() -> None:
    """The check above can fail: the guide's exporter violates each part of the standard."""
    spec = pod_spec(find(build("."), "DaemonSet", "dcgm-exporter"))
    assert violations(spec) == {
        "hostNetwork",
        "volume hostPath",
        "privileged",
        "allowPrivilegeEscalation",
        "capabilities.drop",
        "capabilities.add",
        "runAsNonRoot",
        "runAsUser",
        "seccompProfile",
    }


def test_test_pods_are_restricted() -> None:
    """A cluster that enforces 'restricted' admits the pods for testing, too."""
    for obj in read(DEPLOYMENTS / "gpu-load-test.yaml"):
        assert violations(pod_spec(obj)) == set()
        limits = mapping(pod_spec(obj), "containers", 0, "resources", "limits")
        assert any(resource in Config().pods.gpu_resources for resource in limits)
