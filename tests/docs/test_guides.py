"""The guides say nothing that is not so: what they name exists, what they show works."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from msgspec import structs
from prometheus_client import CollectorRegistry

from metrics_server.commands.main import build_parser
from metrics_server.config.rules import RuleConfig, rules_in_force
from metrics_server.config.sections import Config
from metrics_server.errors import RequestError
from metrics_server.rules.model import Rules
from metrics_server.rules.vendors.registry import VENDORS
from metrics_server.simulator.kube.objects import Object
from metrics_server.telemetry.metrics import Monitor
from tests.deployments.manifests import ROOT, at, items, mapping
from tests.docs.reference import commands, settings

GUIDES = [
    ROOT / "docs" / f"{name}.md"
    for name in ("install", "exporter", "hpa", "keda", "migrating", "troubleshooting")
]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("deployments/*.md")),
    ROOT / "certs" / "README.md",
]
EXPORTER = ROOT / "docs" / "exporter.md"
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
PACKAGE = ROOT / "metrics_server"

# dcgm-exporter's own settings that its manifest here leaves alone (pkg/cmd/app.go of the exporter).
EXPORTER_SETTINGS = {
    "DCGM_EXPORTER_KUBERNETES_GPU_ID_TYPE",
    "KUBERNETES_VIRTUAL_GPUS",
    "KUBERNETES_ENABLE_DRA",
    "NVIDIA_RESOURCE_NAMES",
}
# Flags that the guides name beside our own: of kube-controller-manager, kube-apiserver and KEDA.
OTHERS_FLAGS = {
    "--horizontal-pod-autoscaler-tolerance",
    "--api-audiences",
    "--ca-dir",
    "--enable-apiservice-patching",
}
# Metrics of other servers, which are on an HPA beside ours.
OTHERS_METRICS = {"queue_length"}

# What the setup guide that the product follows says, as it must be found in ours.
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


def text_of(page: Path) -> str:
    """The text of a page."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of these languages, without the indentation that they have in a list."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text_of(page), re.DOTALL | re.MULTILINE)
    return [
        re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
        for indent, language, text in found
        if language in languages
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def inline(page: Path) -> list[str]:
    """What stands between backticks, in one line each."""
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose(page))]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shell_lines(page: Path) -> Iterator[str]:
    """Every command line of a page, in blocks and between backticks."""
    for block in blocks(page, "console", "sh", "bash"):
        yield from block.replace("\\\n", " ").splitlines()
    yield from inline(page)


def manifests(page: Path) -> Iterator[Object]:
    """The objects of all YAML blocks of a page."""
    for block in blocks(page, "yaml"):
        yield from (document for document in yaml.safe_load_all(block) if document)


def by_name(page: Path) -> str:
    """The name of a page, as the name of a test."""
    return str(page.relative_to(ROOT))


all_pages = pytest.mark.parametrize("page", PAGES, ids=by_name)
all_guides = pytest.mark.parametrize("page", GUIDES, ids=by_name)


@all_pages
def test_what_a_reader_copies_parses(page: Path) -> None:
    """Every fenced YAML and JSON is well formed, and is not empty."""
    for block in blocks(page, "json"):
        assert json.loads(block), block
    for block in blocks(page, "yaml"):
        assert any(yaml.safe_load_all(block)), block


@all_pages
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    """Each relative link leads to a file that is there, and to a heading that is in it."""
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", prose(page)):
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("### `no-sample`", "no-sample"),
        (
            '### "Failed to get real metrics", or no metrics',
            "failed-to-get-real-metrics-or-no-metrics",
        ),
        ("## DCGM exporter, or nvidia-smi by exec", "dcgm-exporter-or-nvidia-smi-by-exec"),
    ],
)
def test_anchors_are_made_as_github_does(tmp_path: Path, heading: str, anchor: str) -> None:
    """Signs are left out, spaces become hyphens, and all is in lower case."""
    page = tmp_path / "page.md"
    page.write_text(f"{heading}\n")
    assert anchors(page) == {anchor}


def test_every_alert_leads_to_its_words() -> None:
    """The runbook of each alert is a page and a heading that are there."""
    rules = ROOT / "deployments/components/prometheus-operator/prometheus-rule.yaml"
    groups = items(yaml.safe_load(text_of(rules)), "spec", "groups")
    alerts = [alert for group in groups for alert in items(group, "rules")]
    assert alerts
    for alert in alerts:
        url = str(at(alert, "annotations", "runbook_url"))
        found = re.search(r"((?:docs|deployments)/[\w/.-]+\.md)#([\w-]+)$", url)
        assert found, url
        assert found[2] in anchors(ROOT / found[1]), url


@all_pages
def test_every_command_line_is_accepted(page: Path) -> None:
    """The real parser takes each command line of ours that a page shows."""
    parser = build_parser()
    for line in shell_lines(page):
        ours = re.match(
            r"(?:\$ )?(?:\.venv/bin/)?(?:gpu-metrics-server|python -m metrics_server) (.+)", line
        )
        demo = re.match(r'make demo ARGS="(.+)"', line)
        if demo:
            parser.parse_args(["demo", *shlex.split(demo[1])])
        elif ours and " " in ours[1]:
            parser.parse_args(shlex.split(ours[1], comments=True))
        elif ours:  # a command that is named, not shown
            assert ours[1] in {*commands(), "COMMAND"}


def test_a_wrong_command_line_would_be_noticed() -> None:
    """The parser that the pages are held against refuses what is not so."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["certs", "--folder", "mine"])


@all_pages
def test_every_manifest_that_is_applied_is_there(page: Path) -> None:
    """Each path under deployments/ that a command applies or deletes exists."""
    for line in shell_lines(page):
        if not re.match(r"kubectl (?:apply|delete) ", line):
            continue
        for flag, path in re.findall(r"-([kf]) (deployments\S*)", line):
            if path.endswith("/NAME"):
                continue
            target = ROOT / path
            assert (target / "kustomization.yaml").exists() if flag == "k" else target.is_file()


@all_pages
def test_every_path_of_the_repository_is_there(page: Path) -> None:
    """A file or folder that stands between backticks exists."""
    for code in inline(page):
        if re.fullmatch(r"(?:deployments|certs|docs|metrics_server)/[\w./-]*", code):
            assert (ROOT / code).exists(), code


@pytest.mark.parametrize("overlay", sorted((ROOT / "deployments/overlays").iterdir()), ids=by_name)
def test_every_overlay_is_explained(overlay: Path) -> None:
    """The guide to installing has the command for each overlay."""
    assert f"`kubectl apply -k {by_name(overlay)}`" in text_of(ROOT / "docs" / "install.md")


def rules_of(page: Path) -> Rules:
    """The rules in force, with those that the examples of a page add."""
    sections = [one for one in manifests(page) if "rules" in one and "kind" not in one]
    config = Config.model_validate(sections[0] if sections else {})
    return rules_in_force(config.rules, gauges=config.gauges)


def metrics_of(page: Path) -> Iterator[Object]:
    """The metrics of all HPAs that a page shows, in whole or in part, which are to be ours."""
    for manifest in manifests(page):
        if manifest.get("kind") in ("HorizontalPodAutoscaler", None):
            shown = items(manifest, "spec", "metrics") or items(manifest, "metrics")
            assert shown or "kind" not in manifest
            for metric in map(mapping, shown):
                if at(metric, _source(metric), "metric", "name") not in OTHERS_METRICS:
                    yield metric


def _source(metric: Object) -> str:
    return str(metric["type"]).lower()


@all_pages
def test_every_manifest_has_the_target_of_its_metric(page: Path) -> None:
    """An HPA asks for a metric that is served, with the target type of its rule and its kind."""
    rules = rules_of(page)
    for metric in metrics_of(page):
        source = mapping(metric, _source(metric))
        assert metric.keys() == {"type", _source(metric)}
        rule = rules.find(str(at(source, "metric", "name")))
        kind = "AverageValue" if metric["type"] == "Pods" else rule.target
        amount = {"Value": "value", "AverageValue": "averageValue"}[kind]
        target = mapping(source, "target")
        assert target.keys() == {"type", amount}
        assert target["type"] == kind
        if metric["type"] == "External":
            assert at(source, "metric", "selector", "matchLabels")
        else:
            # The workload's own selector, or the object's, is the one that counts.
            assert mapping(source, "metric").keys() == {"name"}
        assert ("describedObject" in source) == (metric["type"] == "Object")


def test_each_kind_and_both_targets_are_shown() -> None:
    """The guide to the HPA has a metric of each kind, and External ones of each target type."""
    shown = [
        (str(metric["type"]), str(at(metric, _source(metric), "target", "type")))
        for metric in metrics_of(ROOT / "docs" / "hpa.md")
    ]
    assert {kind for kind, _ in shown} == {"Pods", "External", "Object"}
    assert {target for kind, target in shown if kind == "External"} == {"Value", "AverageValue"}
    assert shown[0][0] == "Pods"


def test_the_readme_and_the_example_are_of_pods_metrics() -> None:
    """What people copy first is the form that cannot be written wrongly."""
    (shown,) = metrics_of(ROOT / "README.md")
    first = next(iter(yaml.safe_load_all(text_of(ROOT / "deployments" / "hpa-example.yaml"))))
    assert [shown["type"], at(first, "spec", "metrics", 0, "type")] == ["Pods", "Pods"]


def known_metrics() -> set[str]:
    """The name of every metric, gauge and family, and of every series of the server's own."""
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
    """What looks like a metric, between backticks, is one."""
    known = known_metrics()
    for code in inline(page):
        for name in re.findall(r"\b(?:gpu_|DCGM_FI_)\w+\b(?!…)", code):
            if not name.endswith("_"):
                assert name in known, name


@all_guides
def test_every_setting_that_is_named_exists(page: Path) -> None:
    """What looks like the path of a setting, between backticks, is one, or a section of them."""
    paths = {path.strip("`") for path, _, _ in [*settings(), *settings(RuleConfig, "rules[].")]}
    sections = {path[: at.start()] for path in paths for at in re.finditer(r"\.", path)}
    for code in inline(page):
        for name in re.findall(
            r"(?<![\w.-])(?:exporters|pods|fallback|certificates|rules\[\])\.[A-Za-z.]+", code
        ):
            assert name.rstrip(".") in paths | sections, name


@all_guides
def test_every_flag_that_is_named_exists(page: Path) -> None:
    """A flag by itself, between backticks, is one of ours or one that is listed above."""
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
    """An environment variable of the exporter is in our manifest, or among those listed above."""
    manifest = text_of(ROOT / "deployments" / "dcgm-exporter.yaml")
    known = {*re.findall(r"- name: ([A-Z_]+)\n", manifest), *EXPORTER_SETTINGS}
    for name in re.findall(
        r"\b(?:DCGM_EXPORTER|KUBERNETES|NVIDIA_RESOURCE)_[A-Z_]+\b", text_of(page)
    ):
        assert name in known, name


@pytest.mark.parametrize("fact", SETUP_FACTS)
def test_the_setup_guides_facts_are_all_there(fact: str) -> None:
    """Each fact of the setup guide that the product follows stands in ours."""
    assert fact in re.sub(r"\s+", " ", text_of(EXPORTER)), fact


def test_the_defaults_that_the_guide_tells_are_those_of_the_code() -> None:
    """The fallback's numbers in the exporter's guide are the defaults."""
    fallback = Config().fallback
    base, spread = fallback.simulated.base, fallback.simulated.spread
    text = re.sub(r"\s+", " ", text_of(EXPORTER))
    assert f"a base of {base:g} % plus a random 0 to {spread:g} %" in text
    assert f"so {base:g}–{base + spread:g} %" in text  # noqa: RUF001 - as the page has it
    assert f"up to {fallback.last_known_max_age:g} s" in text
    assert f"`exporters.maxAge` ({Config().exporters.max_age:g} s)" in text


def literals(module: Path) -> list[str]:
    """The strings of a module but its docstrings, with … for what is filled in."""
    tree = ast.parse(text_of(module))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            skipped |= set(node.values)
    texts: list[str] = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(map(_part, node.values)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return texts


def _part(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else "…"


# Each makes sentences for a person who reads `kubectl describe hpa` or the log.
SPEAKING = (
    "measuring/provider.py",
    "common/advice.py",
    "measuring/aggregation.py",
    "errors.py",
    "sources/exporters/hints.py",
    "sources/pages/scraper.py",
    "sources/pages/fetching.py",
    "sources/pages/connection.py",
    "sources/pages/parsing.py",
    "sources/exporters/targets.py",
    "sources/pages/access.py",
)
# Strings of these modules that are no message, or only a part of one.
PARTS = {
    "text/plain;version=0.0.4",
    "application/openmetrics-text",
    "nodes that they do not say",
}


def sentences() -> Iterator[str]:
    """Every message of the modules that speak to people."""
    for module in SPEAKING:
        for text in literals(PACKAGE / module):
            if " " in text.strip() and len(text) > 20 and text not in PARTS:
                yield text.strip()


def quoted(page: Path) -> list[str]:
    """The parts between … of everything between backticks, as far as they are long enough."""
    return [
        part.strip()
        for code in inline(page)
        for part in code.split("…")
        if " " in part.strip() and len(part.strip()) > 11
    ]


@pytest.mark.parametrize("sentence", list(sentences()))
def test_every_message_is_explained(sentence: str) -> None:
    """The troubleshooting page quotes each message, or enough of it to be found."""
    assert any(part in sentence for part in quoted(TROUBLESHOOTING)), sentence


def test_what_a_vendors_exporter_needs_is_explained() -> None:
    """The parts of messages that are a vendor's own stand on the page too."""
    page = text_of(TROUBLESHOOTING)
    for vendor in VENDORS:
        if vendor.hints is not None:
            for hint in structs.astuple(vendor.hints):
                assert hint in page


def _errors(root: type[RequestError] = RequestError) -> Iterator[type[RequestError]]:
    for error in root.__subclasses__():
        yield error
        yield from _errors(error)


def test_every_reason_has_its_heading() -> None:
    """Each `reason` that errors are counted by is a heading, so that a link can lead to it."""
    reasons = {error.reason for error in _errors()} - {"internal"}
    reasons |= {"no-exporter", "exporters-failed", "no-sample"}
    assert reasons <= anchors(TROUBLESHOOTING)


def test_every_outcome_of_a_failed_scrape_is_explained() -> None:
    """Each outcome that failed scrapes are counted by stands in the table of its messages."""
    modules = (PACKAGE / "sources").rglob("*.py")
    source = "".join(map(text_of, modules))
    outcomes = set(re.findall(r'ScrapeError\([^)]*?,\s*"([a-z-]+)"', source, re.DOTALL))
    assert {"timeout", "unreachable"} <= outcomes
    rows = re.findall(r"\| `([a-z-]+)` \|$", text_of(TROUBLESHOOTING), re.MULTILINE)
    assert outcomes <= set(rows)
    assert set(rows) <= {*outcomes, "credentials", "http-status", "too-large"}


def test_every_message_that_is_quoted_is_one() -> None:
    """What stands in the first column of a table of messages, or begins an entry, is said so."""
    said = [
        re.sub(r"\s+", " ", text)
        for module in PACKAGE.rglob("*.py")
        if "demo" not in module.parts
        for text in literals(module)
    ]
    text = prose(TROUBLESHOOTING)
    shown = re.findall(r"^- `([^`]+)`", text, re.MULTILINE)
    for table in re.findall(r"^\| message \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE):
        shown += re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    assert len(shown) > 30
    foreign = ("certificate signed", "certificate is valid", "certificate has expired")
    for message in shown:
        if message.startswith(foreign):
            continue
        for part in re.sub(r"\s+", " ", message).split("…"):
            words = part.strip(' "():;,')
            assert any(words in one for one in said), words
