"""The documents match the code."""

import json
import re
from pathlib import Path

import pytest
import yaml

from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import MetricRule
from metrics_server.rules.quantities import quantities
from metrics_server.rules.vendors.registry import VENDORS
from metrics_server.tls.authority import Authority
from tests.docs.reference import commands, tables
from tests.faults.process import scene

ROOT = Path(__file__).parents[2]
METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", list(tables()))
def test_the_reference_is_as_the_code_has_it(table: str) -> None:
    """Each table is as `make docs` writes it."""
    assert f"<!-- table: {table} -->\n\n{tables()[table]}\n<!-- end -->" in REFERENCE


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_has_its_heading(command: str) -> None:
    """The reference has a section for each command."""
    assert f"### `{command}`\n" in REFERENCE


@pytest.mark.parametrize("rule", CATALOGUE, ids=lambda rule: rule.name)
def test_every_metric_served_is_explained(rule: MetricRule) -> None:
    """Each has a section with its target type and, unless stated elsewhere, its sources."""
    section = METRICS.split(f"### `{mean_of(rule)}`\n")[1].split("\n#")[0]
    assert "for `Value`" in section
    assert "NVIDIA: " in section
    assert "AMD: " in section
    names = METRICS.split("### Other names of a family\n")[1].split("\n#")[0]
    for reading in rule.readings:
        # dcgm-exporter 1.x names are left to the command `rules`.
        if not reading.family.startswith("dcgm_"):
            for family in (reading.family, *reading.divided_by):
                assert f"`{family}`" in section or f"`{family}`" in names


def mean_of(rule: MetricRule) -> str:
    """The name of the mean of which a rule is the sum or maximum; its own if it is a mean."""
    return re.sub("_(sum|max)$", "", rule.name)


def test_the_table_of_other_names_is_that_of_the_code() -> None:
    """A family and the other names of its quantity are in one row."""
    names = METRICS.split("### Other names of a family\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| `(DCGM_\w+)` \| (`\w+`.*?) \|$", names, re.MULTILINE)
    assert len(rows) > 12
    known = quantities(kind for vendor in VENDORS for kind in vendor.kinds)
    for family, others in rows:
        families = {reading.family for reading in known[family].readings}
        assert {family, *re.findall(r"`(\w+)`", others)} == families


@pytest.mark.slow
async def test_the_health_checks_are_those_of_a_server(tmp_path: Path) -> None:
    """Each check of a server that watches files has its row, and each row is a check."""
    authority = tmp_path / "ca.crt"
    authority.write_bytes(Authority("front-proxies").bundle)
    async with scene(
        tmp_path, arguments=["--requestheader-client-ca-file", str(authority)]
    ) as server:
        text = (await server.client.ask("/readyz?verbose")).text
    section = REFERENCE.split("## Health checks")[1].split("\n#")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(re.findall(r"^\[\+\](\S+) ok", text, re.MULTILINE))


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link leads to an existing file."""
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_yaml_and_json_of_the_readme_parse() -> None:
    """What readers copy is well-formed."""
    blocks = re.findall(r"```(yaml|json)\n(.*?)```", README, re.DOTALL)
    assert {kind for kind, _ in blocks} == {"yaml", "json"}
    for kind, text in blocks:
        assert yaml.safe_load(text) if kind == "yaml" else json.loads(text)


def test_the_threat_table_names_tests_that_are_there() -> None:
    """Every test that it names exists."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[a-z_/]+\.py)(?:::(\w+))?`", text)
    assert named
    for path, test in named:
        assert f"def {test}" in (ROOT / path).read_text(encoding="utf-8")
