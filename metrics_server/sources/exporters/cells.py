"""What the rows of one GPU and one pod come to: one value, or none and why."""

from collections.abc import Mapping
from statistics import fmean

from msgspec import Struct

from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.inventory import Known, Part, finest

# What GPUs that are alike have in common.
Kind = tuple[str | None, ...]

_NONE: frozenset[Part] = frozenset()
# A ratio of an instance of a partitioned GPU can be above 1, and is full then: 1.294 was seen.
_RATIO = 1.01
_MOST_OF_INSTANCE = 2
# How many processes that are each at the maximum a sum over processes may stand for. The least
# garbage that was seen in a percentage is 2619.
_MOST_PROCESSES = 16
# Longer texts of digits number nothing.
_MOST_DIGITS = 5


class Told(Struct, frozen=True, gc=False):
    """What a reading has for one GPU and one pod, or for one GPU as a whole.

    Attributes:
        value: None where it is missing.
        rejected: how many values were not believed: out of range, NaN, or a sentinel.
        conflicting: whether there were two different values to believe.
        is_whole: False where the value is the mean of some parts, and the family itself shows that
            there are more.
        parts: those that the value is the mean of, where other families may name more.
        above: a value that was not believed as it is above the maximum, but may be a sum over
            processes.
        capped: what such a sum comes to on a device that has a value of its own. It counts where no
            reading has a value.
    """

    value: float | None
    rejected: int = 0
    conflicting: bool = False
    is_whole: bool = True
    parts: frozenset[Part] = _NONE
    above: float | None = None
    capped: float | None = None


class Cell:
    """The values of one GPU and one pod, by part of the GPU.

    Attributes:
        parts: a part to the values that are believed; () is the GPU as a whole.
        rejected: as `Told` has it.
        above: as `Told` has it.
        kinds: what the GPU is alike with others by: one, unless its rows disagree.
    """

    __slots__ = ("_is_counted", "above", "kinds", "parts", "rejected")

    def __init__(self) -> None:
        self.parts: dict[Part, set[float]] = {}
        self.rejected = 0
        self.above: float | None = None
        self.kinds: set[Kind] = set()
        self._is_counted = False

    def number(self, one: Known, reading: Reading) -> None:
        """Take over how the parts are numbered by a row of a reading that has `each`."""
        alike = one.dialect.alike
        if alike:
            self.kinds.add((one.dialect.name, *[one.labels.get(name) for name in alike]))
        if reading.each[0] in one.dialect.counted:
            self._is_counted = True

    def doubt(self, part: Part, value: float, maximum: float, one: Known, family: str) -> None:
        """Take over a value that is out of the range of its reading."""
        values = self.parts.setdefault(part, set())
        if one.subject.is_instance and 1 <= maximum <= _RATIO and 1 < value <= _MOST_OF_INSTANCE:
            values.add(1)
            return
        self.rejected += 1
        if family in one.dialect.by_process and maximum < value <= maximum * _MOST_PROCESSES:
            self.above = max(self.above or 0, value)

    def settle(self, most_parts: Mapping[Kind, int]) -> Told:
        """One value of all of them.

        Args:
            most_parts: how many parts a GPU of each kind has, by the same rows.
        """
        # Nearly always there is one value, of the whole GPU.
        whole = self.parts.get(())
        if whole is not None and len(self.parts) == len(whole) == 1:
            return Told(next(iter(whole)), self.rejected)
        parts = finest(self.parts)
        told: list[float] = []
        for part in parts:
            values = self.parts[part]
            if len(values) > 1:
                return Told(None, self.rejected, conflicting=True)
            told.extend(values)
        # The mean over some of its parts is not the GPU's.
        if len(told) < len(parts):
            return Told(None, self.rejected, above=self.above)
        count = max([most_parts[kind] for kind in self.kinds], default=0)
        if self._is_counted:
            count = max(count, _count(parts))
        return Told(
            told[0] if len(told) == 1 else fmean(told),
            self.rejected,
            is_whole=count <= len(parts),
            parts=_NONE if self._is_counted else frozenset(filter(None, parts)),
        )


def _count(parts: list[Part]) -> int:
    """How many parts there are up to the last, as they count from 0."""
    texts = [text for _, text, *_ in parts if text and len(text) < _MOST_DIGITS]
    return max([int(text) + 1 for text in texts if text.isdecimal()], default=0)
