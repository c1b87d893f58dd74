from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.api.types import milli_value
from metrics_server.kube.quantities import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("70", "70"),
        ("83500m", "83.5"),
        ("2k", "2000"),
        ("2Ki", "2048"),
        ("1.5Gi", "1610612736"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1E", "1000000000000000000"),
        ("5u", "0.000005"),
        ("5n", "0.000000005"),
        ("-.5", "-0.5"),
        ("3.", "3"),
    ],
)
def test_quantities_are_parsed(text: str, value: str) -> None:
    """Decimal and binary suffixes, exponents, fractions."""
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "m", "1ni", "1mi", "1K", "ten", "1e999", "1 Gi", "0x1"])
def test_others_are_rejected(text: str) -> None:
    """An exponent that would take minutes to compute is rejected, too."""
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@given(st.integers(0, 10**9), st.sampled_from(["", "m", "k", "Ki", "M", "Mi", "e3", "E-2"]))
def test_they_are_what_an_answer_would_be(number: int, suffix: str) -> None:
    """HPA targets are read like answers."""
    assert -(-parse_quantity(f"{number}{suffix}") * 1000 // 1) == milli_value(f"{number}{suffix}")
