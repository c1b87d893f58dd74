"""The example autoscalers, and what the manifests' README lists."""

import re
import shutil
from pathlib import Path

from metrics_server.rules.catalogue import CATALOGUE
from tests.deployments.manifests import (
    DEPLOYMENTS,
    OVERLAYS,
    SERVER,
    at,
    build,
    config_of,
    items,
    kinds,
    mapping,
    read,
)


def test_the_example_autoscalers_ask_for_what_is_served() -> None:
    """Each asks for an existing metric of existing pods: the first as a Pods metric."""
    metrics = {rule.name: rule for rule in CATALOGUE}
    workloads = {
        at(o, "metadata", "name"): o
        for o in kinds(read(DEPLOYMENTS / "gpu-load-test.yaml"), "Deployment")
    }
    shown = []
    for hpa in read(DEPLOYMENTS / "hpa-example.yaml"):
        assert at(hpa, "spec", "scaleTargetRef", "kind") == "Deployment"
        target = workloads[at(hpa, "spec", "scaleTargetRef", "name")]
        (metric,) = items(hpa, "spec", "metrics")
        kind = str(at(metric, "type"))
        source = mapping(metric, kind.lower())
        rule = metrics[str(at(source, "metric", "name"))]
        if kind == "External":
            selector = mapping(source, "metric", "selector", "matchLabels")
            labels = mapping(target, "spec", "template", "metadata", "labels")
            assert selector
            assert selector.items() <= labels.items()
        shown.append((kind, at(source, "target", "type"), rule.over_pods))
    assert shown == [("Pods", "AverageValue", "avg"), ("External", "AverageValue", "sum")]


README = (DEPLOYMENTS / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_every_file_and_overlay() -> None:
    """Each file and overlay has its row, and each row its file."""
    rows = set(re.findall(r"^\| `([\w*./-]+)` \|", README, re.MULTILINE))
    files = {p.name for p in DEPLOYMENTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert rows == {*files, *OVERLAYS, "runbook.md", "image/*.lock", "helm/gpu-metrics-server"}


def test_what_the_readme_puts_together_is_built(tmp_path: Path) -> None:
    """The custom kustomization in the README is accepted, and does what it says."""
    (text,) = (b for b in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "components" in b)
    copy = tmp_path / "deployments"
    shutil.copytree(DEPLOYMENTS, copy, symlinks=True)
    (copy / "overlays" / "own").mkdir()
    (copy / "overlays" / "own" / "kustomization.yaml").write_text(text)
    objects = build(str(copy / "overlays" / "own"))
    assert at(config_of(objects), "fallback", "chain") == ["last-known", "error"]
    assert at(config_of(objects), "exporters", "services", 0, "namespace") == "gpu-operator"
    assert {"Certificate", "ServiceMonitor"} <= {o["kind"] for o in objects}
    assert "DaemonSet" not in {o["kind"] for o in objects}
    images = re.findall(r"- name: (\S+)\n", README)
    assert images == [SERVER]
