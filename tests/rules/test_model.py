"""The catalogue of metrics, and look-up of rules."""

import re

import pytest

from metrics_server.api.types import QUANTITY_LIMIT
from metrics_server.errors import ConfigurationError, CounterAskedError, UnknownMetricError
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.gauges import COUNTERS, GAUGES
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule, Query
from metrics_server.rules.templates import parse
from tests.support.data import EXPORTERS

RULES = Rules(CATALOGUE, GAUGES, COUNTERS)

# Typed as gauges by AMD's exporter, but not values of a pod's GPU: they belong to the node,
# links or processes, are reported many times for one GPU, or are not amounts.
_NOT_ASKED = re.compile(
    r"gpu_nodes_total|gpu_health|gpu_process_cu_occupancy|gpu_(vcn|jpeg)_busy_instantaneous"
    r"|gpu_(|min_|max_)clock|gpu_vram_max_bandwidth|pcie_(max_)?speed|promhttp_.*"
    # Counters of dcgm-exporter 1.x with the names of later gauges, but in lower case.
    r"|dcgm_fi_prof_pcie_[rt]x_bytes"
)


def test_the_guides_fields_are_served() -> None:
    """A metric reads each of the eight DCGM fields in the exporter's setup guide."""
    families = {reading.family for rule in CATALOGUE for reading in rule.readings}
    fields = "GPU_UTIL MEM_COPY_UTIL FB_USED FB_FREE POWER_USAGE GPU_TEMP SM_CLOCK MEM_CLOCK"
    assert {f"DCGM_FI_DEV_{field}" for field in fields.split()} <= families


@pytest.mark.parametrize("name", ["gpu_utilization", "GPU_UTILIZATION", "Gpu_Utilization"])
def test_names_are_found_without_regard_to_case(name: str) -> None:
    """client-go lowercases the name in the URL, kubectl does not."""
    assert RULES.find(name).name == "gpu_utilization"


def test_an_unknown_metric_is_reported_with_the_known_ones() -> None:
    """The error for a mistyped name has the right one."""
    with pytest.raises(UnknownMetricError) as raised:
        RULES.find("gpu_utilisation")
    assert str(raised.value).startswith(
        'there is no metric "gpu_utilisation"; the nearest names are gpu_utilization, '
    )
    assert "served here are: gpu_memory_bandwidth_utilization, " in str(raised.value)
    assert raised.value.code == 404


def test_two_rules_of_one_name_are_refused() -> None:
    """Names that differ only in case could not be distinguished."""
    rule = CATALOGUE[0]
    other = type(rule)(
        name="GPU_Utilization", help="", unit="percent", readings=rule.readings, maximum=100
    )
    with pytest.raises(ConfigurationError, match="upper and lower case"):
        Rules([rule, other])


def test_every_rule_is_whole() -> None:
    """Rules have a family, a unit, and a range from 0 up that an HPA can read for 1,000 pods."""
    for rule in (*CATALOGUE, *GAUGES):
        assert_whole(rule)


def assert_whole(rule: MetricRule) -> None:
    """Check a rule."""
    assert rule.name == rule.name.lower()
    assert rule.readings
    assert rule.unit
    assert 0 <= rule.decimals <= 3
    assert rule.maximum * 10 < QUANTITY_LIMIT
    for reading in rule.readings:
        assert 0 <= reading.minimum < reading.maximum
        assert reading.scale > 0
    greatest = [r.scale if r.divided_by else r.maximum * r.scale for r in rule.readings]
    assert max(greatest) <= rule.maximum * 1.02
    # Some readings of a family may cover only parts of its range.
    assert all(
        max(g for r, g in zip(rule.readings, greatest, strict=True) if r.family == family)
        >= rule.maximum * (1 - 1e-12)
        for family in {reading.family for reading in rule.readings}
    )


def test_each_vendor_has_a_reading() -> None:
    """Every metric is read from dcgm-exporter, its 1.x, and AMD's exporter."""
    for rule in CATALOGUE:
        families = [reading.family for reading in rule.readings]
        for prefix in ("DCGM_FI_", "dcgm_", "gpu_"):
            assert any(family.startswith(prefix) for family in families), (rule.name, prefix)


def test_the_target_type_follows_from_the_aggregation() -> None:
    """Under AverageValue a mean would shrink the workload, so only sums are for it."""
    for_average_value = [rule.name for rule in CATALOGUE if rule.target == "AverageValue"]
    means = [rule.name for rule in CATALOGUE if rule.over_pods == "avg"]
    assert for_average_value == [f"{name}_sum" for name in means]


@pytest.mark.parametrize(
    ("query", "label", "has_sum"),
    [
        ("avg(a{<<.LabelMatchers>>})", None, True),
        ("sum by (<<.GroupBy>>) (a{<<.LabelMatchers>>})", "pod", True),
        ("histogram_quantile(0.9, sum by (le) (rate(a{<<.LabelMatchers>>}[5m])))", None, False),
        ("1000 * quantile by (pod) (0.5, a{namespace=<<.Namespace>>})", "pod", False),
        ("QUANTILE_over_time(0.5, a{pod=~<<.Pods>>}[5m])", None, False),
    ],
)
def test_a_query_has_a_sum_unless_it_is_of_quantiles(
    query: str,
    label: str | None,
    has_sum: bool,  # noqa: FBT001
) -> None:
    """Quantiles that are added up over pods are nobody's."""
    rule = MetricRule("a", "", "", (), 1, query=Query(parse(query), label))
    assert rule.has_sum is has_sum
    assert ("a_sum" in Rules([rule]).known()) is has_sum


def test_each_mean_has_its_greatest() -> None:
    """NAME_max has the readings of NAME, and is the maximum over GPUs and over pods."""
    for rule in CATALOGUE:
        if (rule.over_gpus, rule.over_pods) == ("avg", "avg"):
            greatest = RULES.find(f"{rule.name}_max")
            assert (greatest.over_gpus, greatest.over_pods) == ("max", "max")
            assert greatest.readings == rule.readings


@pytest.mark.parametrize("name", ["DCGM_FI_PROF_SM_ACTIVE", "dcgm_fi_prof_sm_active"])
def test_a_gauge_is_found_by_its_own_name(name: str) -> None:
    """An exporter's family is averaged, unscaled, and its range is checked."""
    rule = RULES.find(name)
    reading = rule.readings[0]
    assert (reading.family, reading.scale) == ("DCGM_FI_PROF_SM_ACTIVE", 1)
    assert (reading.minimum, reading.maximum, rule.maximum) == (0, 1.01, 1)
    assert (rule.over_gpus, rule.over_pods, rule.target) == ("avg", "avg", "Value")
    assert rule.decimals == 3


def test_gauges_are_not_listed() -> None:
    """Discovery lists the rules; a hundred gauges that may not exist would hide them."""
    assert RULES.names() == sorted(rule.name for rule in CATALOGUE)
    assert "DCGM_FI_PROF_SM_ACTIVE" in RULES.gauges()


def test_a_rule_comes_before_a_gauge_of_its_name() -> None:
    """AMD also has a family gpu_power_usage: that name means the metric."""
    assert RULES.find("gpu_power_usage") is Rules(CATALOGUE).find("gpu_power_usage")
    assert "gpu_power_usage" not in RULES.gauges()


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "gpu_power_usage"),
        ("dcgm_fi_dev_nvlink_bandwidth_l0", "DCGM_FI_PROF_NVLINK_TX_BYTES"),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION_SUM", "gpu_power_usage"),
        ("DCGM_FI_DEV_POWER_VIOLATION", "gpu_sm_clock"),
        ("gpu_ecc_correct_total", "a gauge, such as gpu_utilization"),
    ],
)
def test_a_counter_is_refused_with_a_reason(name: str, instead: str) -> None:
    """A counter only ever grows; the error says so, and what to use instead."""
    with pytest.raises(CounterAskedError, match=f'"{name}" is a counter.*ask for {instead}') as it:
        RULES.find(name)
    assert (it.value.code, it.value.reason) == (400, "counter-asked")


@pytest.mark.parametrize("name", ["DCGM_FI_PROF_SM_ACTIVE", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"])
def test_without_gauges_a_family_is_unknown(name: str) -> None:
    """If they are turned off, only rules are found."""
    with pytest.raises(UnknownMetricError):
        Rules(CATALOGUE).find(name)


@pytest.mark.parametrize(
    "page",
    [
        "dcgm-1.x",
        "dcgm-2.x",
        "dcgm-3.x-8gpu-multi-pod",
        "dcgm-4.x-8gpu",
        "dcgm-mig",
        "amd-device-metrics-exporter",
    ],
)
def test_every_family_of_a_page_is_a_gauge_or_a_counter(page: str) -> None:
    """The exporters' default families can be used, or are rejected with a reason."""
    text = (EXPORTERS / f"{page}.prom").read_text()
    types = re.findall(r"^# TYPE (\S+) (gauge|counter)$", text, re.MULTILINE)
    assert types
    for family, kind in types:
        if _NOT_ASKED.fullmatch(family):
            continue
        try:
            rule = RULES.find(family)
        except CounterAskedError:
            # AMD's exporter types every family as a gauge.
            assert kind == "counter" or not family.startswith("DCGM")
        else:
            # Up to 4.8.2 the exporter types this rate as a counter.
            assert kind == "gauge" or family.upper().endswith("NVLINK_BANDWIDTH_TOTAL")
            assert family in [reading.family for reading in rule.readings]
