"""The wire types, quantities and timestamps."""

import json
import re
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.api.types import (
    GROUP,
    GROUP_VERSION,
    QUANTITY_LIMIT,
    VERSION,
    ExternalMetricValue,
    ExternalMetricValueList,
    encode,
    format_quantity,
    format_timestamp,
    milli_value,
)

VALUE = ExternalMetricValue(
    metric_name="gpu_utilization",
    metric_labels={"source": "exporters", "pods": "2"},
    timestamp="2026-11-24T08:32:41Z",
    value="84",
)


def test_the_answer_on_the_wire() -> None:
    """The fields' names, order and emptiness are those of the Kubernetes type."""
    assert encode(ExternalMetricValueList(items=(VALUE,))) == (
        b'{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1",'
        b'"metadata":{},"items":[{"metricName":"gpu_utilization",'
        b'"metricLabels":{"source":"exporters","pods":"2"},'
        b'"timestamp":"2026-11-24T08:32:41Z","value":"84"}]}'
    )
    assert f"{GROUP}/{VERSION}" == GROUP_VERSION == "external.metrics.k8s.io/v1beta1"


def test_a_window_stands_before_the_value() -> None:
    """A window is integer seconds, and is left out if there is none."""
    value = ExternalMetricValue(
        metric_name="m", metric_labels={}, timestamp="2026-11-24T08:32:41Z", window=30, value="1"
    )
    fields = json.loads(encode(value))
    assert list(fields) == ["metricName", "metricLabels", "timestamp", "window", "value"]
    assert fields["window"] == 30
    assert fields["metricLabels"] == {}


@pytest.mark.parametrize(
    ("value", "decimals", "quantity"),
    [
        (0, 0, "0"),
        (-0.0, 3, "0"),
        (0.0004, 3, "0"),
        (0.4999, 0, "0"),
        (0.5, 0, "1"),
        (2.5, 0, "3"),
        (84, 0, "84"),
        (84.0, 3, "84"),
        (83.5, 1, "83500m"),
        (83.5, 0, "84"),
        (0.285, 2, "290m"),
        (0.001, 3, "1m"),
        (100, 0, "100"),
        (999.9996, 3, "1k"),
        (1000, 0, "1k"),
        (1000.5, 1, "1000500m"),
        (1500, 0, "1500"),
        (12_000_000, 0, "12M"),
        (85_899_345_920, 0, "85899345920"),
        (3e9, 0, "3G"),
        (4e12, 2, "4T"),
        (9e15, 3, "9P"),
        (9_199_999_999_999_998.0, 0, "9199999999999998"),
    ],
)
def test_quantities_are_canonical(value: float, decimals: int, quantity: str) -> None:
    """A quantity is written as Go writes it, rounded half up."""
    assert format_quantity(value, decimals) == quantity


@pytest.mark.parametrize("value", [-1, -0.0001, nan, inf, -inf, QUANTITY_LIMIT, 1e300])
def test_what_an_hpa_would_misread_is_refused(value: float) -> None:
    """The HPA takes negative and overflowing values for the largest of all."""
    with pytest.raises(ValueError, match="is not a quantity for an HPA"):
        format_quantity(value, 0)


@pytest.mark.parametrize("decimals", [-1, 4])
def test_a_quantity_has_up_to_three_decimals(decimals: int) -> None:
    """The HPA does not see anything finer than a thousandth."""
    with pytest.raises(ValueError, match="decimal places"):
        format_quantity(1, decimals)


VALUES = st.floats(0, QUANTITY_LIMIT, exclude_max=True) | st.floats(0, 1000)


@given(value=VALUES, decimals=st.integers(0, 3))
def test_a_quantity_reads_back_as_the_rounded_value(value: float, decimals: int) -> None:
    """The HPA reads the value, rounded half up to the requested places."""
    places = Decimal(10) ** -decimals
    rounded = Decimal(repr(value)).quantize(places, ROUND_HALF_UP)
    assert milli_value(format_quantity(value, decimals)) == rounded * 1000


@given(value=VALUES, decimals=st.integers(0, 3))
def test_a_quantity_has_the_largest_suffix_that_it_can(value: float, decimals: int) -> None:
    """Never a sign, point, exponent, leading zero, or thousands that a suffix could express."""
    quantity = format_quantity(value, decimals)
    assert re.fullmatch(r"0|[1-9][0-9]*[mkMGTP]?", quantity)
    assert not re.search(r"000[mkMGTP]?$", quantity)
    if decimals == 0:
        assert not quantity.endswith("m")


@pytest.mark.parametrize(
    ("quantity", "milli"),
    [
        ("84", 84_000),
        ("83500m", 83_500),
        ("83.5", 83_500),
        ("+1.5", 1_500),
        ("-1.5", -1_500),
        ("1.", 1_000),
        (".5", 500),
        ("0", 0),
        ("007", 7_000),
        ("1k", 1_000_000),
        ("1.5M", 1_500_000_000),
        ("9P", 9 * 10**18),
        ("2Ki", 2_048_000),
        ("1.5Gi", 1536 * 2**20 * 1000),
        ("1e3", 1_000_000),
        ("1E3", 1_000_000),
        ("12e-1", 1_200),
        ("5e+2", 500_000),
        ("0E", 0),
        ("1n", 1),
        ("1001u", 2),
        ("0.0001", 1),
        ("-0.0001", -1),
    ],
)
def test_every_form_of_quantity_is_read(quantity: str, milli: int) -> None:
    """Decimal and binary suffixes, and exponents; finer values are rounded away from zero."""
    assert milli_value(quantity) == milli


@pytest.mark.parametrize(
    "quantity", ["", "m", "1K", "1ki", "1mm", "1e", "1e1.5", " 1", "1_0", "1.2.3", "NaN", "\u0663"]
)
def test_what_is_no_quantity_is_refused(quantity: str) -> None:
    """Kubernetes rejects each of these too."""
    with pytest.raises(ValueError, match="is not a quantity"):
        milli_value(quantity)


@pytest.mark.parametrize("quantity", ["9223372036854775807", "10P", "1E", "8Ei", "1e999"])
def test_a_quantity_too_large_for_an_hpa_is_refused(quantity: str) -> None:
    """In the HPA controller its milli-value would overflow unchecked."""
    with pytest.raises(ValueError, match="too large"):
        milli_value(quantity)


@given(st.integers(0, 2**63 - 1))
def test_milli_units_read_back(milli: int) -> None:
    """Any number of thousandths that fits in 64 bits is read exactly."""
    assert milli_value(f"{milli}m") == milli


@pytest.mark.parametrize(
    ("seconds", "timestamp"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_795_509_161, "2026-11-24T08:32:41Z"),
        (1_795_509_161.999, "2026-11-24T08:32:41Z"),
    ],
)
def test_timestamps_are_whole_seconds_in_utc(seconds: float, timestamp: str) -> None:
    """RFC 3339 as metav1.Time writes it, and never later than the time itself."""
    assert format_timestamp(seconds) == timestamp


@given(st.floats(0, 4e9))
def test_timestamps_read_back(seconds: float) -> None:
    """A timestamp reads back as the second that contains it."""
    read = datetime.strptime(format_timestamp(seconds), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert 0 <= seconds - read.timestamp() < 1
