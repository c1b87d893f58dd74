"""Quantities, as the simulated HPA controller reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.api.types import format_quantity, milli_value
from metrics_server.simulator.quantities import milli_value_of


@pytest.mark.parametrize(
    ("quantity", "milli"),
    [
        ("84", 84_000),
        ("83500m", 83_500),
        ("-1.5", -1_500),
        (".5", 500),
        ("1k", 1_000_000),
        ("9P", 9 * 10**18),
        ("2Ki", 2_048_000),
        ("1.5Gi", 1536 * 2**20 * 1000),
        ("1E3", 1_000_000),
        ("12e-1", 1_200),
        ("0E", 0),
        ("1n", 1),
        ("1001u", 2),
        ("-0.0001", -1),
    ],
)
def test_it_is_read_as_documented(quantity: str, milli: int) -> None:
    """Decimal and binary suffixes, and exponents; finer values are rounded away from zero."""
    assert milli_value_of(quantity) == milli


@pytest.mark.parametrize("text", ["", "m", "1K", "1ki", "1e", " 1", "1_0", "NaN", "10P", "1e99"])
def test_what_is_not_a_quantity_is_an_error(text: str) -> None:
    """The HPA gets no number to act on."""
    with pytest.raises(ValueError, match=r"is (not a quantity|too large)"):
        milli_value_of(text)


@given(
    st.from_regex(
        r"[+-]?[0-9]{1,6}(\.[0-9]{0,4})?(n|u|m|k|M|Ki|Mi|e[0-9]|E-[0-9])?", fullmatch=True
    )
)
def test_the_product_reads_it_alike(text: str) -> None:
    """Two implementations of one grammar."""
    assert milli_value_of(text) == milli_value(text)


@given(st.floats(0, 1e9), st.integers(0, 3))
def test_what_the_product_writes_is_read(value: float, decimals: int) -> None:
    """The HPA gets exactly the number in the answer."""
    assert abs(milli_value_of(format_quantity(value, decimals)) - value * 1000) <= 500 + value / 1e9
