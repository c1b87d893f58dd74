"""The ways to read a quantity of an exporter, whatever its family is called in a release."""

from collections.abc import Iterator, Mapping

from msgspec import Struct, structs

from metrics_server.rules.families import FULL_RATIO, KINDS, BaseUnit, Kind
from metrics_server.rules.model import Reading

# The one name whose meaning has changed: up to DCGM 4.6 it is another name of GPU_UTIL, in whole
# percents; from 4.7 on it is a field of its own, a ratio. That 4.7 has is told by its other names.
_GPU_UTIL_RATIO = "DCGM_FI_DEV_GPU_UTIL_RATIO"
_ONLY_IN_4_7 = (
    "DCGM_FI_DEV_FB_USED_BYTES",
    "DCGM_FI_DEV_MEMORY_UTIL_RATIO",
    "DCGM_FI_DEV_FB_FREE_BYTES",
    "DCGM_FI_DEV_FB_CAPACITY_BYTES",
    "DCGM_FI_DEV_FB_RESERVED_BYTES",
    "DCGM_FI_DEV_ENC_UTIL_RATIO",
    "DCGM_FI_DEV_DEC_UTIL_RATIO",
    "DCGM_FI_DEV_NVLINK_THROUGHPUT_BYTES_PER_SECOND",
)
# Without them a fraction is a ratio, since percents are whole, and from 2 up it is percents. 1 may
# be either: it is missing.
_GPU_UTIL_RATIO_READINGS = (
    Reading(_GPU_UTIL_RATIO, 0, FULL_RATIO, scale=100, beside=_ONLY_IN_4_7),
    Reading(_GPU_UTIL_RATIO, 2, 100),
    Reading(_GPU_UTIL_RATIO, 0, 0.995, scale=100),
)


class Quantity(Struct, frozen=True):
    """What one name stands for.

    Attributes:
        family: the name, as on a page.
        unit: in which it is answered by this name.
        maximum: the greatest value there can be, in this unit.
        decimals: how many decimal places are answered.
        readings: the ways to read it, in this unit: its own family first.
    """

    family: str
    unit: str
    maximum: float
    decimals: int
    readings: tuple[Reading, ...]


def _quantities() -> Iterator[Quantity]:
    for kind in KINDS:
        for line in kind.quantities.strip().splitlines():
            names = line.split()
            for name in names:
                # The name that is asked for is read first, where a page should have two.
                spelled = dict.fromkeys([name, *names])
                readings = [one for other in spelled for one in _readings(other, kind)]
                yield _named(name, kind, readings)


def _named(name: str, kind: Kind, readings: list[Reading]) -> Quantity:
    base = _base(name, kind)
    if base is None:
        return Quantity(name, kind.unit, kind.maximum, kind.decimals, tuple(readings))
    scaled = tuple(structs.replace(one, scale=one.scale / base.scale) for one in readings)
    return Quantity(name, base.unit, kind.maximum / base.scale, base.decimals, scaled)


def _base(name: str, kind: Kind) -> BaseUnit | None:
    """The base unit that a family is in, if it is in one."""
    if kind.base is None or name == _GPU_UTIL_RATIO or not name.endswith(kind.base.suffix):
        return None
    return kind.base


def _readings(name: str, kind: Kind) -> tuple[Reading, ...]:
    """The ways to read a family, in the kind's unit."""
    if name == _GPU_UTIL_RATIO:
        return _GPU_UTIL_RATIO_READINGS
    base = _base(name, kind)
    if base is None:
        believed = kind.maximum if kind.believed is None else kind.believed
        return (Reading(name, kind.minimum, believed, each=kind.each),)
    believed = kind.maximum / base.scale if base.believed is None else base.believed
    return (Reading(name, kind.minimum / base.scale, believed, base.scale, each=kind.each),)


QUANTITIES: Mapping[str, Quantity] = {one.family: one for one in _quantities()}
"""Every quantity by each of its names, as on a page."""


def readings(family: str, *, scale: float = 1) -> tuple[Reading, ...]:
    """The ways to read the quantity of a family: itself first, then its other names.

    Args:
        family: one of `QUANTITIES`.
        scale: what its unit is multiplied by.
    """
    own = QUANTITIES[family].readings
    return tuple(structs.replace(one, scale=one.scale * scale) for one in own)
