"""Combines the rows of one GPU and one pod into one value, or into none and the reason."""

from collections.abc import Mapping
from statistics import fmean

from msgspec import Struct

from metrics_server.common.numbers import is_digits
from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.inventory import Known, Part, finest

# What GPUs of the same kind have in common.
Kind = tuple[str | None, ...]

_NONE: frozenset[Part] = frozenset()
# A ratio of an instance of a partitioned GPU can be above 1 (1.294 was seen): it counts as 1.
_RATIO = 1.01
_MOST_OF_INSTANCE = 2
# A sum over processes may be as large as this many processes, each at the maximum. The smallest
# garbage value seen in a percentage is 2619.
_MOST_PROCESSES = 16
# A longer string of digits is not an index.
_MOST_DIGITS = 5


class Measured(Struct, frozen=True, gc=False):
    """The result of a reading for one GPU and one pod, or for one GPU as a whole.

    Attributes:
        value: None if it is missing.
        rejected: how many values were rejected: out of range, NaN, or a sentinel.
        conflicting: whether two different values were acceptable.
        is_whole: False if the value is the mean of only some parts, as the family itself shows.
        parts: the parts that the value is the mean of, if other families may name more.
        above: a value rejected for exceeding the maximum, which may be a sum over processes.
        capped: that sum, capped at the device's own value. Used only if no reading has a value.
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
        parts: the accepted values by part; () is the GPU as a whole.
        rejected: as in `Measured`.
        above: as in `Measured`.
        kinds: the kind of the GPU: one, unless its rows disagree.
    """

    __slots__ = ("_is_counted", "above", "kinds", "parts", "rejected")

    def __init__(self) -> None:
        self.parts: dict[Part, set[float]] = {}
        self.rejected = 0
        self.above: float | None = None
        self.kinds: set[Kind] = set()
        self._is_counted = False

    def number(self, one: Known, reading: Reading) -> None:
        """Record how a row of a reading with `each` numbers the parts."""
        alike = one.dialect.alike
        if alike:
            labels = one.labels
            self.kinds.add((one.dialect.name, *[labels.get(name) for name in alike]))
        if reading.each[0] in one.dialect.counted:
            self._is_counted = True

    def doubt(self, part: Part, value: float, maximum: float, one: Known, family: str) -> None:
        """Record a value outside the range of its reading."""
        values = self.parts.setdefault(part, set())
        if one.subject.is_instance and 1 <= maximum <= _RATIO and 1 < value <= _MOST_OF_INSTANCE:
            values.add(1)
            return
        self.rejected += 1
        if family in one.dialect.by_process and maximum < value <= maximum * _MOST_PROCESSES:
            self.above = max(self.above or 0, value)

    def settle(self, most_parts: Mapping[Kind, int]) -> Measured:
        """Return one value for all of them.

        Args:
            most_parts: how many parts a GPU of each kind has, according to the same rows.
        """
        # Nearly always this is one value, for the whole GPU.
        whole = self.parts.get(())
        if whole is not None and len(self.parts) == len(whole) == 1:
            return Measured(next(iter(whole)), self.rejected)
        parts = finest(self.parts)
        accepted: list[float] = []
        for part in parts:
            values = self.parts[part]
            if len(values) > 1:
                return Measured(None, self.rejected, conflicting=True)
            accepted.extend(values)
        # The mean over only some of its parts is not the GPU's value.
        if len(accepted) < len(parts):
            return Measured(None, self.rejected, above=self.above)
        count = max([most_parts[kind] for kind in self.kinds], default=0)
        if self._is_counted:
            count = max(count, _count(parts))
        return Measured(
            accepted[0] if len(accepted) == 1 else fmean(accepted),
            self.rejected,
            is_whole=count <= len(parts),
            parts=_NONE if self._is_counted else frozenset(filter(None, parts)),
        )


def _count(parts: list[Part]) -> int:
    """Return the number of parts up to the highest index, counting from 0."""
    texts = [text for _, text, *_ in parts if text and len(text) < _MOST_DIGITS]
    return max([int(text) + 1 for text in texts if is_digits(text)], default=0)
