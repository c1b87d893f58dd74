"""Families of exporters as values: quantities of one unit and one range, by all of their names."""

from collections.abc import Mapping

from msgspec import Struct

from metrics_server.rules.model import Reading

MIB = 1024 * 1024
MAX_MEMORY_MIB = 10_000_000
MAX_POWER_W = 10_000
MAX_TEMPERATURE_C = 200
MAX_CLOCK_MHZ = 10_000
# A profiling ratio can read a little above 1.
FULL_RATIO = 1.01


class BaseUnit(Struct, frozen=True):
    """How a kind's families in base units differ from its others.

    Attributes:
        suffix: what their names end with.
        unit: their unit.
        scale: what their values are multiplied by to have the kind's unit.
        decimals: how many decimal places of them are answered.
        believed: the greatest value that is believed, in the base unit, if it is not the maximum.
    """

    suffix: str
    unit: str
    scale: float
    decimals: int = 0
    believed: float | None = None


class Kind(Struct, frozen=True):
    """Quantities of one unit and one range.

    Attributes:
        quantities: one to a line: its family, and the other names of the same.
        unit: of what is on the page.
        maximum: the greatest value there can be.
        decimals: how many decimal places are answered.
        minimum: the least value there can be.
        believed: the greatest value on the page that is believed, if it is not the maximum.
        each: labels that number the parts of one GPU.
        base: how the families in base units differ, if there are any.
        irregular: of families whose values do not always mean the same, how they are read, in the
            kind's unit.
        is_gauge: whether these families can be asked for by their own names. They cannot where
            the rows of a GPU differ in more than its parts.
    """

    quantities: str
    unit: str
    maximum: float
    decimals: int = 0
    minimum: float = 0
    believed: float | None = None
    each: tuple[str, ...] = ()
    base: BaseUnit | None = None
    irregular: Mapping[str, tuple[Reading, ...]] = {}
    is_gauge: bool = True
