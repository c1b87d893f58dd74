"""Exporter families as data: quantities of one unit and one range, by all of their names."""

from collections.abc import Mapping

from msgspec import Struct

from metrics_server.rules.model import Reading

MIB = 1024 * 1024
MAX_MEMORY_MIB = 10_000_000
MAX_POWER_W = 10_000
MAX_TEMPERATURE_C = 200
MAX_CLOCK_MHZ = 10_000
# A profiling ratio can be a little above 1.
FULL_RATIO = 1.01


class BaseUnit(Struct, frozen=True):
    """How a kind's families in base units differ from its others.

    Attributes:
        suffix: the suffix of their names.
        unit: their unit.
        scale: the factor that converts their values to the kind's unit.
        decimals: how many decimal places are returned.
        accepted: the highest value that is not rejected, in the base unit, if not the maximum.
    """

    suffix: str
    unit: str
    scale: float
    decimals: int = 0
    accepted: float | None = None


class Kind(Struct, frozen=True):
    """Quantities of one unit and one range.

    Attributes:
        quantities: one on each line: its family and its other names.
        unit: the unit of the values on the page.
        maximum: the highest possible value.
        decimals: how many decimal places are returned.
        minimum: the lowest possible value.
        accepted: the highest value on the page that is not rejected, if not the maximum.
        each: labels that number the parts of a GPU.
        base: how the families in base units differ, if there are any.
        irregular: how to read families whose values do not always mean the same, in the kind's
            unit.
        is_gauge: whether these families can be requested by their own names. They cannot if the
            rows of a GPU differ in more than its parts.
    """

    quantities: str
    unit: str
    maximum: float
    decimals: int = 0
    minimum: float = 0
    accepted: float | None = None
    each: tuple[str, ...] = ()
    base: BaseUnit | None = None
    irregular: Mapping[str, tuple[Reading, ...]] = {}
    is_gauge: bool = True
