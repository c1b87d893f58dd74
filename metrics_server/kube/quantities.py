"""Quantities, as the Kubernetes API writes them (k8s.io/apimachinery/pkg/api/resource)."""

import re
from collections.abc import Mapping
from decimal import Decimal

# From suffix.go.
_SUFFIXES: Mapping[str, Decimal] = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("0.001"),
    "k": Decimal(1000),
    "Ki": Decimal(1024),
} | {
    letter + suffix: Decimal(base) ** power
    for power, letter in enumerate("MGTPE", start=2)
    for suffix, base in (("", 1000), ("i", 1024))
}
# Far more digits, or a far larger exponent, than any Quantity has.
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?)"
    r"(?P<suffix>[numkMGTPE]i?|Ki)?"
)


def parse_quantity(text: str) -> Decimal:
    """Parse a Quantity, such as "1", "2k", "83500m" or "1e3".

    Raises:
        ValueError: it is not a Quantity.
    """
    parts = _QUANTITY.fullmatch(text)
    factor = parts and _SUFFIXES.get(parts["suffix"] or "")
    if parts is None or factor is None:
        raise ValueError(f'"{text}" is not a quantity')
    return Decimal(parts["number"]) * factor
