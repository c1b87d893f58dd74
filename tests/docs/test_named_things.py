"""Metrics, settings and flags that the guides name exist."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from metrics_server.config.rules import RuleConfig, rules_in_force
from metrics_server.config.sections import Config
from metrics_server.telemetry.metrics import Monitor
from tests.deployments.manifests import ROOT
from tests.docs.reference import commands, settings
from tests.support.guides import by_name, inline, text_of

GUIDES = [
    ROOT / "docs" / f"{name}.md"
    for name in ("install", "exporter", "hpa", "keda", "migrating", "troubleshooting")
]

EXPORTER = ROOT / "docs" / "exporter.md"

# dcgm-exporter's own settings that our manifest leaves alone (pkg/cmd/app.go of the exporter).
EXPORTER_SETTINGS = {
    "DCGM_EXPORTER_KUBERNETES_GPU_ID_TYPE",
    "KUBERNETES_VIRTUAL_GPUS",
    "KUBERNETES_ENABLE_DRA",
    "NVIDIA_RESOURCE_NAMES",
}
# Flags in the guides besides our own: of kube-controller-manager, kube-apiserver, KEDA and
# Helm.
OTHERS_FLAGS = {
    "--take-ownership",
    "--force-conflicts",
    "--horizontal-pod-autoscaler-tolerance",
    "--horizontal-pod-autoscaler-sync-period",
    "--api-audiences",
    "--ca-dir",
    "--enable-apiservice-patching",
}

# Statements of the setup guide that the product follows, as they must be in ours.
SETUP_FACTS = (
    "namespace `gpu-monitoring`",
    "DaemonSet `dcgm-exporter`",
    "Service `dcgm-exporter`",
    "port 9400",
    "kubectl get nodes -l nvidia.com/gpu=present",
    "kubectl label nodes NAME nvidia.com/gpu=present",
    "kubectl apply -f deployments/dcgm-exporter.yaml",
    "kubectl get pods -n gpu-monitoring",
    "http://dcgm-exporter.gpu-monitoring.svc.cluster.local:9400/metrics",
    "grep 'DCGM_FI_DEV_GPU_UTIL.*namespace=\"default\"'",
    "grep 'DCGM_FI_DEV_GPU_UTIL.*pod=\"NAME\"'",
    "`nvidia.com/gpu`",
    "`amd.com/gpu`",
    "`Running`",
    "a base of 60 %",
    "0 to 30 %",
    "60–90 %",  # noqa: RUF001 - as the page has it
    "source: simulated",
    "`Pending`",
    "`CrashLoopBackOff`",
    "kubectl describe pod -n gpu-monitoring NAME",
    "kubectl get pods -n kube-system -l name=nvidia-device-plugin-ds",
    "kubectl logs -n kube-system -l name=nvidia-device-plugin-ds",
    "Failed to get real metrics",
    "kubectl get pod NAME -o jsonpath='{.spec.containers[*].resources.requests}'",
    "Utilization is always 0",
    "holds memory and computes nothing",
    "between two bursts",
    "`nvidia.com/gpu: 1`",
    "nvidia-smi in a loop",
    "gpu-burn",
    "CUDA samples",
    "`DCGM_FI_DEV_GPU_UTIL`",
    "`DCGM_FI_DEV_MEM_COPY_UTIL`",
    "`DCGM_FI_DEV_FB_USED`",
    "`DCGM_FI_DEV_FB_FREE`",
    "`DCGM_FI_DEV_POWER_USAGE`",
    "`DCGM_FI_DEV_GPU_TEMP`",
    "`DCGM_FI_DEV_SM_CLOCK`",
    "`DCGM_FI_DEV_MEM_CLOCK`",
    '`prometheus.io/scrape: "true"`',
    '`prometheus.io/port: "9400"`',
    "every 1–2 s",  # noqa: RUF001 - as the page has it
    "0.5 % of a GPU",
    "10–20 KB/s",  # noqa: RUF001 - as the page has it
    "kept in memory",
    "`privileged: true`",
    "`hostNetwork: true`",
    "`SYS_ADMIN`",
    "nvidia-smi by exec",
    "https://docs.nvidia.com/datacenter/dcgm/",
    "https://github.com/NVIDIA/dcgm-exporter",
)

all_guides = pytest.mark.parametrize("page", GUIDES, ids=by_name)


def known_metrics() -> set[str]:
    """The name of every metric, gauge and family, and of every one of the server's own series."""
    rules = rules_in_force((), gauges=True)
    names = {*rules.names(), *rules.gauges()}
    for rule in [*rules, *(rules.find(gauge) for gauge in rules.gauges())]:
        for reading in rule.readings:
            names |= {reading.family, *reading.divided_by, *(label for label, _ in reading.where)}
    registry = CollectorRegistry()
    monitor = Monitor(registry)
    monitor.answered("external", "gpu_utilization", 200, 0.1)
    monitor.follow_watches({"pods": lambda: 0})
    monitor.follow_sizes({"pods": lambda: 0})
    monitor.follow_hpa_findings(dict)
    for family in registry.collect():
        names.add(f"{family.name}_total" if family.type == "counter" else family.name)
        names |= {sample.name for sample in family.samples}
    return names


@all_guides
def test_every_metric_that_is_named_exists(page: Path) -> None:
    """What looks like a metric between backticks is one."""
    known = known_metrics()
    for code in inline(page):
        for name in re.findall(r"\b(?:gpu_|DCGM_FI_)\w+\b(?!…)", code):
            if not name.endswith("_"):
                assert name in known, name


@all_guides
def test_every_setting_that_is_named_exists(page: Path) -> None:
    """What looks like a setting's path between backticks is one, or a section."""
    paths = {path.strip("`") for path, _, _ in [*settings(), *settings(RuleConfig, "rules[].")]}
    sections = {path[: at.start()] for path in paths for at in re.finditer(r"\.", path)}
    for code in inline(page):
        for name in re.findall(
            r"(?<![\w.-])(?:exporters|pods|fallback|certificates|rules\[\])\.[A-Za-z.]+", code
        ):
            assert name.rstrip(".") in paths | sections, name


@all_guides
def test_every_flag_that_is_named_exists(page: Path) -> None:
    """A flag alone between backticks is one of ours or listed above."""
    ours = {
        flag
        for parser in commands().values()
        for action in parser._actions
        for flag in action.option_strings
    }
    for code in inline(page):
        if found := re.match(r"--[a-z][\w-]*", code):
            assert found[0] in ours | OTHERS_FLAGS, code


@all_guides
def test_every_setting_of_the_exporter_exists(page: Path) -> None:
    """An environment variable of the exporter is in our manifest, or listed above."""
    manifest = text_of(ROOT / "deployments" / "dcgm-exporter.yaml")
    known = {*re.findall(r"- name: ([A-Z_]+)\n", manifest), *EXPORTER_SETTINGS}
    for name in re.findall(
        r"\b(?:DCGM_EXPORTER|KUBERNETES|NVIDIA_RESOURCE)_[A-Z_]+\b", text_of(page)
    ):
        assert name in known, name


def test_the_setup_guides_facts_are_all_there() -> None:
    """Each fact of the setup guide that the product follows is in ours."""
    guide = re.sub(r"\s+", " ", text_of(EXPORTER))
    assert [fact for fact in SETUP_FACTS if fact not in guide] == []


def test_the_defaults_that_the_guide_tells_are_those_of_the_code() -> None:
    """The fallback's numbers in the exporter's guide are the defaults."""
    fallback = Config().fallback
    base, spread = fallback.simulated.base, fallback.simulated.spread
    text = re.sub(r"\s+", " ", text_of(EXPORTER))
    assert f"a base of {base:g} % plus a random 0 to {spread:g} %" in text
    assert f"so {base:g}–{base + spread:g} %" in text  # noqa: RUF001 - as the page has it
    assert f"up to {fallback.last_known_max_age:g} s" in text
    assert f"`exporters.maxAge` ({Config().exporters.max_age:g} s)" in text
