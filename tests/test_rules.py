"""The catalogue of metrics."""

import pytest

from metrics_server.errors import ConfigurationError, UnknownMetricError
from metrics_server.rules import CATALOGUE, Rules


def test_the_guides_fields_are_served() -> None:
    """Each of the eight DCGM fields of the exporter's setup guide is behind a metric."""
    families = {reading.family for rule in CATALOGUE for reading in rule.readings}
    fields = "GPU_UTIL MEM_COPY_UTIL FB_USED FB_FREE POWER_USAGE GPU_TEMP SM_CLOCK MEM_CLOCK"
    assert {f"DCGM_FI_DEV_{field}" for field in fields.split()} <= families


@pytest.mark.parametrize("name", ["gpu_utilization", "GPU_UTILIZATION", "Gpu_Utilization"])
def test_names_are_found_without_regard_to_case(name: str) -> None:
    """client-go lowercases the name in the URL, kubectl does not."""
    assert Rules().find(name).name == "gpu_utilization"


def test_an_unknown_metric_is_told_with_the_known_ones() -> None:
    """Who mistypes a name reads the right one in the error."""
    with pytest.raises(UnknownMetricError) as raised:
        Rules().find("gpu_utilisation")
    assert str(raised.value).startswith('there is no metric "gpu_utilisation"; the metrics served')
    assert "gpu_utilization" in str(raised.value)
    assert raised.value.code == 404


def test_two_rules_of_one_name_are_refused() -> None:
    """Names that differ by case only could not be told apart."""
    rule = CATALOGUE[0]
    other = type(rule)(
        name="GPU_Utilization", help="", unit="percent", readings=rule.readings, maximum=100
    )
    with pytest.raises(ConfigurationError, match="without regard to case"):
        Rules([rule, other])


def test_every_rule_is_whole() -> None:
    """Each has a family to read, a unit, a range that its readings cannot go below zero of."""
    for rule in CATALOGUE:
        assert rule.name == rule.name.lower()
        assert rule.readings
        assert rule.unit
        for reading in rule.readings:
            assert 0 <= reading.minimum < reading.maximum
            assert reading.maximum * reading.scale >= rule.maximum
