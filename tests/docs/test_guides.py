"""What readers copy from the guides works."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from metrics_server.commands.main import build_parser
from metrics_server.config.rules import rules_in_force
from metrics_server.config.sections import Config
from metrics_server.rules.lookup import Rules
from metrics_server.simulator.kube.objects import Object
from tests.deployments.manifests import ROOT, at, items, mapping
from tests.docs.reference import commands
from tests.support.guides import anchors, by_name, inline, prose, text_of

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("deployments/*.md")),
    ROOT / "certs" / "README.md",
]

# Other servers' metrics, used in an HPA beside ours.
OTHERS_METRICS = {"queue_length"}


def blocks(page: Path, *languages: str) -> list[str]:
    """Fenced blocks in these languages, without the indentation of lists."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text_of(page), re.DOTALL | re.MULTILINE)
    return [
        re.sub(f"^{indent}", "", text, flags=re.MULTILINE)
        for indent, language, text in found
        if language in languages
    ]


def shell_lines(page: Path) -> Iterator[str]:
    """Every command line of a page, in blocks and between backticks."""
    for block in blocks(page, "console", "sh", "bash"):
        yield from block.replace("\\\n", " ").splitlines()
    yield from inline(page)


def manifests(page: Path) -> Iterator[Object]:
    """The objects in all YAML blocks of a page."""
    for block in blocks(page, "yaml"):
        yield from (document for document in yaml.safe_load_all(block) if document)


all_pages = pytest.mark.parametrize("page", PAGES, ids=by_name)


@all_pages
def test_what_a_reader_copies_parses(page: Path) -> None:
    """All fenced YAML and JSON is well-formed and not empty."""
    for block in blocks(page, "json"):
        assert json.loads(block), block
    for block in blocks(page, "yaml"):
        assert any(yaml.safe_load_all(block)), block


@all_pages
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    """Each relative link leads to an existing file and heading."""
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
    """Punctuation is removed, spaces become hyphens, and all is in lower case."""
    page = tmp_path / "page.md"
    page.write_text(f"{heading}\n")
    assert anchors(page) == {anchor}


def test_every_alert_leads_to_its_words() -> None:
    """Each alert's runbook is an existing page and heading."""
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
    """The real parser accepts each of our command lines on a page."""
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
    """The parser that checks the pages rejects wrong lines."""
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
    """A file or folder between backticks exists."""
    for code in inline(page):
        if re.fullmatch(r"(?:deployments|certs|docs|metrics_server)/[\w./-]*", code):
            assert (ROOT / code).exists(), code


@pytest.mark.parametrize("overlay", sorted((ROOT / "deployments/overlays").iterdir()), ids=by_name)
def test_every_overlay_is_explained(overlay: Path) -> None:
    """The installation guide has the command for each overlay."""
    assert f"`kubectl apply -k {by_name(overlay)}`" in text_of(ROOT / "docs" / "install.md")


def rules_of(page: Path) -> Rules:
    """The rules in force, with those in a page's examples."""
    sections = [one for one in manifests(page) if "rules" in one and "kind" not in one]
    config = Config.model_validate(sections[0] if sections else {})
    return rules_in_force(config.rules, gauges=config.gauges)


def metrics_of(page: Path) -> Iterator[Object]:
    """The metrics of all HPAs on a page, whole or partial, that should be ours."""
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
    """An HPA asks for an existing metric, with the target type for its rule and kind."""
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
            # The selector of the workload or the object is the one that counts.
            assert mapping(source, "metric").keys() == {"name"}
        assert ("describedObject" in source) == (metric["type"] == "Object")


def test_each_kind_and_both_targets_are_shown() -> None:
    """The HPA guide has a metric of each kind, and External ones with each target type."""
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


def test_the_guide_to_llm_serving_shows_the_manifest_that_scales_to_zero() -> None:
    """The guide's HPA is that of the file, which is tested."""
    shown = [
        document
        for block in re.findall(r"```yaml\n(.*?)```", text_of(ROOT / "docs" / "llm.md"), re.DOTALL)
        for document in yaml.safe_load_all(block)
    ]
    manifest = yaml.safe_load_all(text_of(ROOT / "deployments" / "llm-scale-to-zero.yaml"))
    (hpa,) = (one for one in manifest if one["kind"] == "HorizontalPodAutoscaler")
    assert hpa in shown
