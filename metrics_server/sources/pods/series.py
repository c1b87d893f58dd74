"""From the rows of a pod's own page to the pod's value.

Nothing here is guessed: if a row that belongs to the value cannot be believed, there is no value,
because a sum or a mean without it would be another number.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from statistics import fmean

from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.rules.model import Aggregation, MetricRule, Reading
from metrics_server.sources.pages.exposition import Row, parse_labels

# Of a value or a name on a page, in a message.
_MAX_SHOWN = 60

Rows = Callable[[str], Sequence[Row]]
"""Returns the rows of a family."""

_Series = frozenset[tuple[str, str]]

_AGGREGATIONS: Mapping[Aggregation, Callable[[Sequence[float]], float]] = {
    "avg": fmean,
    "max": max,
    "min": min,
    "sum": sum,
}


class NoValue(Struct, frozen=True):
    """Why a page has no value.

    Attributes:
        why: a phrase that follows "the page".
    """

    why: str


def value_of(rule: MetricRule, rows: Rows) -> float | NoValue:
    """Return the value of a pod by the rows on its page, in the rule's unit."""
    present: list[Reading] = []
    for reading in rule.readings:
        found = rows(reading.family)
        if found and reading.beside and not any(map(rows, reading.beside)):
            found = ()
        if not found:
            if any(map(rows, reading.zero_beside)):
                return 0.0
            continue
        present.append(reading)
        series = _series(reading, found)
        if isinstance(series, NoValue):
            return series
        if series:
            values = [value * reading.scale for value in series.values()]
            return _AGGREGATIONS[rule.over_series](values)
    if present:
        labels = " or ".join(dict.fromkeys(map(_condition, present)))
        return NoValue(f"has no row of {printable(present[0].family, _MAX_SHOWN)} with {labels}")
    return NoValue(
        f"has none of the families that {rule.name} is read from, such as {rule.readings[0].family}"
    )


def _series(reading: Reading, rows: Sequence[Row]) -> Mapping[_Series, float] | NoValue:
    """Return the value of each series; empty if no row has the labels of the reading."""
    values: dict[_Series, float] = {}
    seen: dict[str, float] = {}
    for row in rows:
        labels = parse_labels(row.labels)
        if None in labels.values():
            return NoValue(f"has a row of {reading.family} with a label twice")
        # As in Prometheus, a label that is absent is the same as an empty one.
        if any(labels.get(name, "") != value for name, value in reading.where):
            continue
        if not isfinite(row.value) or not reading.minimum <= row.value <= reading.maximum:
            return NoValue(f"has a value of {reading.family} that is out of range: {row.value:g}")
        if seen.setdefault(row.labels, row.value) != row.value:
            return NoValue(f"has two values for one row of {reading.family}")
        series = frozenset(
            (name, value or "") for name, value in labels.items() if name not in reading.copies
        )
        values[series] = max(row.value, values.get(series, row.value))
    return values


def _condition(reading: Reading) -> str:
    return ", ".join(f'{name}="{value}"' for name, value in reading.where)
