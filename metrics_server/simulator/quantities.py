"""Quantities as the HPA controller parses them, implemented separately from the product.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import re
from decimal import ROUND_UP, Decimal

_GRAMMAR = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
    r"(?:(?P<binary>[KMGTPE]i)|(?P<decimal>[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_MAX_MILLI = (1 << 63) - 1


def milli_value_of(quantity: str) -> int:
    """Return a quantity in thousandths, rounded away from zero as Quantity.MilliValue does.

    Raises:
        ValueError: it is not a quantity, or too large.
    """
    found = _GRAMMAR.fullmatch(quantity)
    if found is None or len(quantity) > 64:  # noqa: PLR2004 - more digits than any value has
        raise ValueError(f"{quantity!r} is not a quantity")
    value = Decimal(found["number"])
    if found["binary"]:
        value *= 1024 ** ("KMGTPE".index(found["binary"][0]) + 1)
    elif found["decimal"]:
        value = value.scaleb(3 * ("num.kMGTPE".index(found["decimal"]) - 3))
    elif found["exponent"]:
        value = value.scaleb(int(found["exponent"]))
    milli = int(value.scaleb(3).to_integral_value(ROUND_UP))
    if abs(milli) > _MAX_MILLI:
        raise ValueError(f"{quantity!r} is too large")
    return milli
