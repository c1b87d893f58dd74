"""The ways to read an exporter's quantity, whatever its family is called in each release.

A page rarely has a quantity under two names, and then both mean the same.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, structs

from metrics_server.rules.families import BaseUnit, Kind
from metrics_server.rules.model import Reading


class Quantity(Struct, frozen=True):
    """A quantity under one of its names.

    Attributes:
        family: the name, as on a page.
        unit: its unit under this name.
        maximum: the highest possible value, in this unit.
        decimals: how many decimal places are returned.
        readings: the ways to read it, in this unit: its own family first.
        is_gauge: whether it can be requested by this name.
    """

    family: str
    unit: str
    maximum: float
    decimals: int
    readings: tuple[Reading, ...]
    is_gauge: bool


def quantities(kinds: Iterable[Kind]) -> Mapping[str, Quantity]:
    """Return every quantity under each of its names, as on a page."""
    return {one.family: one for kind in kinds for one in _of_kind(kind)}


def _of_kind(kind: Kind) -> Iterator[Quantity]:
    for line in kind.quantities.strip().splitlines():
        names = line.split()
        for name in names:
            # The requested name is read first, in case a page has two.
            spelled = dict.fromkeys([name, *names])
            readings = [one for other in spelled for one in _readings(other, kind)]
            yield _named(name, kind, readings)


def _named(name: str, kind: Kind, readings: list[Reading]) -> Quantity:
    base = _base(name, kind)
    if base is None:
        return Quantity(
            name, kind.unit, kind.maximum, kind.decimals, tuple(readings), kind.is_gauge
        )
    scaled = tuple(structs.replace(one, scale=one.scale / base.scale) for one in readings)
    maximum = kind.maximum / base.scale
    return Quantity(name, base.unit, maximum, base.decimals, scaled, kind.is_gauge)


def _base(name: str, kind: Kind) -> BaseUnit | None:
    """Return the base unit of a family, if it is in one."""
    if kind.base is None or name in kind.irregular or not name.endswith(kind.base.suffix):
        return None
    return kind.base


def _readings(name: str, kind: Kind) -> tuple[Reading, ...]:
    """Return the ways to read a family, in the kind's unit."""
    if name in kind.irregular:
        return kind.irregular[name]
    base = _base(name, kind)
    if base is None:
        accepted = kind.maximum if kind.accepted is None else kind.accepted
        return (Reading(name, kind.minimum, accepted, each=kind.each),)
    accepted = kind.maximum / base.scale if base.accepted is None else base.accepted
    return (Reading(name, kind.minimum / base.scale, accepted, base.scale, each=kind.each),)
