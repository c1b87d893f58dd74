"""A vendor is one file and one line in the registry: everything else is derived."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from metrics_server.kube.pods import pod_decoder
from metrics_server.rules import presets
from metrics_server.rules.catalogue import CATALOGUE, catalogue
from metrics_server.rules.gauges import COUNTERS, GAUGES, counters, gauges
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import Reading
from metrics_server.rules.quantities import quantities
from metrics_server.rules.vendors.registry import VENDORS
from metrics_server.rules.vendors.vendor import Use, Vendor
from tests.rules.acme import ACME
from tests.support.once import once

ROOT = Path(__file__).parents[2]
ALL = (*VENDORS, ACME)


@pytest.fixture(scope="module")
def answers() -> Mapping[str, str]:
    """The answers of a server with the vendor in its registry."""

    def make(file: Path) -> None:
        command = [sys.executable, "-m", "tests.rules.acme", str(file)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)  # noqa: S603 - a module of the tests

    answers: dict[str, str] = json.loads(once("acme", make).read_text("utf-8"))
    return answers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "value"),
    [
        # Found by its resource and its default Service; ratios from two releases, as percentages.
        ("gpu_utilization", "50"),
        ("gpu_utilization_sum", "50"),
        ("gpu_utilization_max", "60"),
        ("gpu_memory_used", "104857600"),
        ("gpu_memory_utilization", "25"),
        ("gpu_power_usage", "20"),
        # By the families' own names, in their own units.
        ("acme_busy", "500m"),
        ("acme_busy_v2_sum", "500m"),
        ("acme_core_watts", "20"),
    ],
)
def test_one_line_of_the_registry_is_a_whole_vendor(
    answers: Mapping[str, str], metric: str, value: str
) -> None:
    """A server measures its pods without any other change or configuration."""
    assert answers[metric] == value


@pytest.mark.slow
def test_its_counters_are_refused(answers: Mapping[str, str]) -> None:
    """The error says what to use instead."""
    assert "acme_jobs_total" in answers["acme_jobs_total"]
    assert "acme_busy" in answers["acme_jobs_total"]


@pytest.mark.slow
def test_its_hints_are_of_its_own_exporter(answers: Mapping[str, str]) -> None:
    """Hints about its exporter's page name its settings, not another vendor's."""
    # The pod requests a share, by the suffix of its resource.
    wanted = "the exporter needs pods: true in acme.yaml, and claims: true for ResourceClaims"
    assert wanted in answers["without names"]


def test_it_changes_nothing_for_the_others() -> None:
    """The result is the built-in part unchanged, then the vendor's."""
    rules = zip(catalogue(ALL), CATALOGUE, catalogue([ACME]), strict=True)
    for rule, builtin, own in rules:
        assert rule.readings == (*builtin.readings, *own.readings)
    assert gauges(ALL)[: len(GAUGES)] == GAUGES
    assert counters(ALL) == (*COUNTERS, *ACME.counters)
    assert presets.dialects(ALL) == (*presets.DIALECTS, *ACME.dialects)
    assert presets.gpu_resources(ALL) == (*presets.GPU_RESOURCES, *ACME.gpu_resources)
    assert presets.services(ALL) == (*presets.SERVICES, *ACME.services)
    assert presets.hints(ALL) == {**presets.HINTS, "acme": ACME.hints}


def test_a_server_of_that_vendor_alone() -> None:
    """Nothing derived needs another vendor."""
    rules = Rules(catalogue([ACME]), gauges([ACME]), counters([ACME]))
    assert rules.find("gpu_utilization").readings == (
        Reading("acme_busy", 0, 1, scale=100),
        Reading("acme_busy_v2", 0, 1, scale=100),
    )
    assert rules.find("gpu_memory_utilization").readings == (
        Reading("acme_memory_used", 0, 10_000_000, scale=100, divided_by=("acme_memory_total",)),
    )
    assert rules.find("gpu_power_usage").readings == (
        Reading("acme_core_watts", 0, 500, where=(("rail", "main"),), each=("core",)),
    )
    assert rules.find("gpu_temperature").readings == ()
    decode = pod_decoder(presets.gpu_resources([ACME]))
    container = b'{"resources":{"limits":{"acme.com/card":2,"nvidia.com/gpu":4}}}'
    metadata = b'"metadata":{"name":"a","namespace":"n"}'
    pod = decode(b'{%b,"spec":{"containers":[%b]},"status":{}}' % (metadata, container))
    assert pod.gpus == 2


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_what_a_vendor_names_it_has(vendor: Vendor) -> None:
    """Its metrics are in the catalogue, and its families are in its own kinds."""
    known = quantities(vendor.kinds)
    assert vendor.metrics.keys() <= {rule.name for rule in CATALOGUE}
    for use in (one for uses in vendor.metrics.values() for one in uses):
        if isinstance(use, Use):
            assert {use.family, *use.share_of} <= known.keys()
            assert use.unless is None or use.unless.family in known
        else:
            assert use in known
    for kind in vendor.kinds:
        assert kind.irregular.keys() <= set(kind.quantities.split())
    for dialect in vendor.dialects:
        assert dialect.by_process <= known.keys()
        assert dialect.rival is None or dialect.rival in vendor.dialects


def test_no_two_vendors_claim_the_same() -> None:
    """A family, a dialect's name, a resource and a Service each have one owner."""
    for claims in (
        [name for vendor in VENDORS for name in quantities(vendor.kinds)],
        [dialect.name for dialect in presets.DIALECTS],
        [vendor.name for vendor in VENDORS],
        presets.GPU_RESOURCES,
        presets.SERVICES,
    ):
        assert len(set(claims)) == len(claims)


def test_each_vendor_has_the_file_of_its_name() -> None:
    """The registry has every file, and every vendor in it has a file.

    If a vendor's file would be too long, its families are in `NAME_families`.
    """
    folder = ROOT / "metrics_server" / "rules" / "vendors"
    files = {path.stem.removesuffix("_families") for path in folder.glob("*.py")}
    assert files - {"__init__", "registry", "vendor"} == {vendor.name for vendor in VENDORS}
