"""What the manifests prevent: evictions, moved tags, unnoticed privileges, open ports."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from metrics_server.simulator.kube.objects import Object
from tests.deployments.manifests import (
    DEPLOYMENTS,
    NAMESPACE,
    OVERLAYS,
    ROOT,
    SERVER,
    at,
    build,
    find,
    items,
    kinds,
    mapping,
    pod_spec,
)

pytestmark = pytest.mark.slow

FOLDERS = [".", *(f"overlays/{overlay}" for overlay in OVERLAYS)]
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
MODES = ("enforce", "warn", "audit")


def built_with(folder: Path, kustomization: Object) -> Sequence[Object]:
    """The base with a custom kustomization on top."""
    copy = folder / "deployments"
    shutil.copytree(DEPLOYMENTS, copy, symlinks=True)
    (copy / "own").mkdir()
    own = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    text = yaml.safe_dump({**own, "resources": ["../base"], **kustomization})
    (copy / "own" / "kustomization.yaml").write_text(text)
    return build(str(copy / "own"))


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_no_pod_is_evicted_for_the_server(folder: str) -> None:
    """Its priority preempts no pod: the server waits for room."""
    priority = find(build(folder), "PriorityClass", SERVER)
    assert priority["preemptionPolicy"] == "Never"


def test_eviction_can_be_chosen(tmp_path: Path) -> None:
    """A component allows it, and changes nothing else."""
    objects = built_with(tmp_path, {"components": ["../components/preempting"]})
    priority = find(objects, "PriorityClass", SERVER)
    assert priority["preemptionPolicy"] == "PreemptLowerPriority"
    base = find(build("."), "PriorityClass", SERVER)
    assert {**priority, "preemptionPolicy": "Never"} == base


@pytest.mark.parametrize("folder", FOLDERS)
def test_privileges_are_noticed(folder: str) -> None:
    """Only our exporter needs any; pods that are not restricted are warned about and audited."""
    objects = build(folder)
    labels = mapping(find(objects, "Namespace", NAMESPACE), "metadata", "labels")
    levels = [labels.get(f"pod-security.kubernetes.io/{mode}") for mode in MODES]
    exporter = kinds(objects, "DaemonSet")
    assert levels == ["privileged" if exporter else "restricted", "restricted", "restricted"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_image_of_others_is_named_by_its_digest(folder: str) -> None:
    """Moving a tag does not run code on the nodes."""
    for exporter in kinds(build(folder), "DaemonSet"):
        for container in items(pod_spec(exporter), "containers"):
            image = str(at(container, "image"))
            assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image)


@pytest.mark.parametrize("folder", FOLDERS)
def test_secrets_are_not_made_by_the_server(folder: str) -> None:
    """There is an empty Secret if the server manages its certificate, and none otherwise."""
    objects = build(folder)
    roles = kinds(objects, "Role", "ClusterRole")
    name = f"{SERVER}-certificates"
    managed = f"{SERVER}:certificates" in [at(role, "metadata", "name") for role in roles]
    secrets = [o for o in kinds(objects, "Secret") if at(o, "metadata", "name") == name]
    assert len(secrets) == managed
    assert not any("data" in o or "stringData" in o for o in secrets)
    for rule in (rule for role in roles for rule in items(role, "rules")):
        if "secrets" in items(rule, "resources"):
            assert items(rule, "verbs") == ["get", "update"]
            assert items(rule, "resourceNames") == [name]


def test_the_policy_that_the_guide_shows(tmp_path: Path) -> None:
    """It is accepted, admits only three kinds of peers, and keeps the port."""
    (text,) = (b for b in re.findall(r"```yaml\n(.*?)```", SECURITY, re.DOTALL) if "ipBlock" in b)
    objects = built_with(tmp_path, yaml.safe_load(text))
    (rule,) = items(find(objects, "NetworkPolicy", SERVER), "spec", "ingress")
    assert [sorted(mapping(peer)) for peer in items(rule, "from")] == [
        ["ipBlock"],
        ["ipBlock"],
        ["namespaceSelector"],
    ]
    assert [at(port, "port") for port in items(rule, "ports")] == [6443]
