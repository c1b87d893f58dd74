"""docs/doctor.md has every check and problem, and the targets of problems' links exist."""

import re

import pytest

from metrics_server.doctor.model import Check
from metrics_server.doctor.registry import CHECKS
from tests.deployments.manifests import ROOT
from tests.support.guides import anchors, text_of

PAGE = ROOT / "docs" / "doctor.md"
PACKAGE = ROOT / "metrics_server" / "doctor"
RULES = ROOT / "deployments" / "components" / "prometheus-operator" / "prometheus-rule.yaml"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_is_documented(check: Check) -> None:
    """It has a section, which names all its problems."""
    section = text_of(PAGE).split(f"### {check.name}\n")[1].split("\n#")[0]
    assert section.strip()
    for name in check.finds:
        assert f"`{name}`" in section


def test_every_section_is_a_check() -> None:
    """In report order, except for the other parts of the page."""
    assert re.findall("^### (.+)$", text_of(PAGE), re.MULTILINE) == [one.name for one in CHECKS]


def test_every_check_has_a_file_of_its_own() -> None:
    """And is in the registry."""
    files = {path.stem for path in (PACKAGE / "checks").glob("*.py")} - {"__init__"}
    assert len(files) == len(CHECKS)
    assert {one.run.__module__.rpartition(".")[2] for one in CHECKS} == files


def test_what_problems_link_to_exists() -> None:
    """Each page, and each heading on it."""
    source = "".join(map(text_of, PACKAGE.rglob("*.py")))
    links = set(re.findall(r'"((?:docs|deployments)/[a-z]+\.md(?:#[a-z0-9-]+)?)"', source))
    assert len(links) > 15
    for link in links:
        page, _, anchor = link.partition("#")
        assert (ROOT / page).exists(), link
        assert not anchor or anchor in anchors(ROOT / page), link


def test_what_errors_link_to_exists() -> None:
    """Links built from an error's reason."""
    reasons = {"no-exporter", "exporters-failed", "no-sample", "no-pod-matches"}
    reasons |= {"no-gpu-requested", "no-pod-measurable", "unknown-metric", "counter-asked"}
    assert reasons <= anchors(ROOT / "docs" / "troubleshooting.md")


def test_alerts_that_are_named_exist() -> None:
    """They are in the PrometheusRule."""
    named = set(re.findall(r"`(GPU\w+)`", text_of(PAGE)))
    assert named
    for alert in named:
        assert f"alert: {alert}\n" in text_of(RULES)
