"""From the rows of a pod's own pages to the pod's value.

Nothing here is guessed: if a row that belongs to the value cannot be believed, there is no value,
because a sum or a mean without it would be another number.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from math import inf, isfinite, isnan, nan
from statistics import fmean
from typing import Protocol

from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.common.weight import MAX_KEPT_CHARACTERS
from metrics_server.rules.model import Aggregation, MetricRule, Reading
from metrics_server.sources.pages.exposition import Row, parse_labels
from metrics_server.sources.pods.history import Unknown
from metrics_server.sources.pods.quantiles import Buckets, added, quantile_of
from metrics_server.sources.pods.track import Increase, Key, Series

# Of a value or a name on a page, in a message.
_MAX_SHOWN = 60
# Of a reading over time, whose earlier values are kept.
_MAX_KEPT_VALUES = 5000
# Of pages of one pod that are read in different ways, if only the same can be added up.
_UNLIKE = "is of another engine than the pod's other pages: they have no quantile in common"
# In place of a bucket's bound, where a series has one value.
_NO_BOUND = 0.0

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


class Page(Protocol):
    """A page, as far as values are read from it."""

    def rows(self, name: str) -> Sequence[Row]:
        """Return the rows of this name."""
        ...

    def series(self, reading: Reading) -> Series | NoValue:
        """Return what `read` does of the reading's rows."""
        ...


Increases = Callable[[Reading, Series], Increase | Unknown]
"""Returns how much counters grew within the rule's window, or why that is not known."""


class Part(Struct, frozen=True):
    """What a page contributes to the value of its pod.

    Attributes:
        values: a value for each series, in the rule's unit.
        grown: in their place, how much histograms grew, for a quantile of all of them.
        reading: what was read.
    """

    values: tuple[float, ...] = ()
    grown: Increase | None = None
    reading: Reading | None = None


def value_of(rule: MetricRule, parts: Sequence[Part]) -> float | NoValue:
    """Return the value of a pod by all of its pages, at least one, in the rule's unit."""
    reading, first = parts[0].reading, parts[0].grown
    if reading is None or first is None:
        if any(part.grown for part in parts):
            return NoValue(_UNLIKE)
        return _AGGREGATIONS[rule.over_series]([one for part in parts for one in part.values])
    histograms: list[Buckets] = []
    for part in parts:
        if part.reading != reading or part.grown is None:
            return NoValue(_UNLIKE)
        histograms += ((bounds, counts) for (_, bounds), counts in part.grown.of.items())
    quantile = quantile_of(reading.quantile or 0, added(histograms))
    if quantile is None:
        return NoValue(
            f"had no requests in the last {first.seconds:.0f} s: {reading.family} has not grown"
        )
    return _checked("quantile", reading, quantile)


def part_of(rule: MetricRule, page: Page, increases: Increases) -> Part | NoValue:
    """Return what a page contributes to the value of its pod."""
    present: list[Reading] = []
    for reading in rule.readings:
        found = page.rows(reading.rows)
        if found and reading.beside and not any(map(page.rows, reading.beside)):
            found = ()
        if not found:
            if any(map(page.rows, reading.zero_beside)):
                return Part((0.0,))
            continue
        present.append(reading)
        series = page.series(reading)
        if isinstance(series, NoValue):
            return series
        if series:
            return _part(rule, reading, series, increases)
    if present:
        labels = " or ".join(dict.fromkeys(map(_condition, present)))
        return NoValue(f"has no row of {printable(present[0].rows, _MAX_SHOWN)} with {labels}")
    return NoValue(
        f"has none of the families that {rule.name} is read from, such as {rule.readings[0].family}"
    )


def read(reading: Reading, rows: Iterable[Row]) -> Series | NoValue:
    """Return the values of a reading's rows; empty if no row has its labels."""
    try:
        values = _by_labels(reading, rows)
        if reading.quantile is not None:
            return dict(_histogram(reading, *one) for one in values.items())
    except _UnbelievableError as error:
        return NoValue(str(error))
    return {(labels, ()): (one[_NO_BOUND],) for labels, one in values.items()}


class _UnbelievableError(Exception):
    """A row cannot be believed; the message is the `why` of a `NoValue`."""


def _by_labels(
    reading: Reading, rows: Iterable[Row]
) -> Mapping[frozenset[tuple[str, str]], Mapping[float, float]]:
    """Return the value of each series; of a histogram, the count of each bucket by its bound."""
    values: dict[frozenset[tuple[str, str]], dict[float, float]] = {}
    seen: dict[str, float] = {}
    low, high = (0, inf) if reading.is_over_time else (reading.minimum, reading.maximum)
    for row in rows:
        short = len(row.labels) <= MAX_KEPT_CHARACTERS
        place = _known_place(reading, row.labels) if short else _place(reading, row.labels)
        if place is None:
            continue
        if not isfinite(row.value) or not low <= row.value <= high:
            message = f"has a value of {reading.rows} that is out of range: {row.value:g}"
            raise _UnbelievableError(message)
        if seen.setdefault(row.labels, row.value) != row.value:
            raise _UnbelievableError(f"has two values for one row of {reading.rows}")
        series, bound = place
        buckets = values.setdefault(series, {})
        buckets[bound] = max(row.value, buckets.get(bound, row.value))
    if reading.is_over_time and len(seen) > _MAX_KEPT_VALUES:
        raise _UnbelievableError(
            f"has {len(seen)} rows of {reading.rows}, of which at most {_MAX_KEPT_VALUES} can be "
            "remembered: select some of them with the reading's where"
        )
    return values


def _place(reading: Reading, text: str) -> tuple[frozenset[tuple[str, str]], float] | None:
    """Return the series and the bucket that a row is of by its labels; None if not asked for."""
    labels = parse_labels(text)
    if None in labels.values():
        raise _UnbelievableError(f"has a row of {reading.rows} with a label twice")
    # As in Prometheus, a label that is absent is the same as an empty one.
    if any(labels.get(name, "") != value for name, value in reading.where):
        return None
    is_histogram = reading.quantile is not None
    bound = _bound(reading, labels.get("le") or "") if is_histogram else _NO_BOUND
    left_out = (*reading.copies, "le") if is_histogram else reading.copies
    series = ((name, value or "") for name, value in labels.items() if name not in left_out)
    return frozenset(series), bound


# The pods of a workload have the same labels on their pages, time and again.
_known_place = lru_cache(maxsize=8192)(_place)


def _bound(reading: Reading, text: str) -> float:
    try:
        bound = float(text)
    except ValueError:
        bound = nan
    if isnan(bound):
        raise _UnbelievableError(f"has a row of {reading.rows} whose label le is not a number")
    return bound


# Those of the same engine are the same on all of its pages, which are remembered.
@lru_cache(maxsize=1024)
def _shared_bounds(bounds: tuple[float, ...]) -> tuple[float, ...]:
    return bounds


def _histogram(
    reading: Reading, labels: frozenset[tuple[str, str]], buckets: Mapping[float, float]
) -> tuple[Key, tuple[float, ...]]:
    """Return a histogram with its buckets in the order of their bounds."""
    if inf not in buckets:
        raise _UnbelievableError(f'has rows of {reading.rows}, but not the one with le="+Inf"')
    bounds = _shared_bounds(tuple(sorted(buckets)))
    return (labels, bounds), tuple(map(buckets.__getitem__, bounds))


def _part(
    rule: MetricRule, reading: Reading, series: Series, increases: Increases
) -> Part | NoValue:
    """Return what the series of one reading contribute."""
    if not reading.is_over_time:
        return Part(tuple(value * reading.scale for (value,) in series.values()))
    increase = increases(reading, series)
    if not isinstance(increase, Increase):
        what = "rate" if reading.rate else "quantile"
        return NoValue(_why_unknown(increase, what, rule.window))
    if reading.quantile is not None:
        return Part(grown=increase, reading=reading)
    rates: list[float] = []
    for (grown,) in increase.of.values():
        rate = _checked("rate", reading, grown / increase.seconds)
        if isinstance(rate, NoValue):
            return rate
        rates.append(rate)
    return Part(tuple(rates))


def _checked(what: str, reading: Reading, value: float) -> float | NoValue:
    """Return a rate or a quantile in the rule's unit, if it is in the reading's range."""
    if reading.minimum <= value <= reading.maximum:
        return value * reading.scale
    return NoValue(f"gives a {what} of {reading.family} that is out of range: {value:g}")


def _why_unknown(unknown: Unknown, what: str, window: int) -> str:
    if unknown == "full":
        return (
            f"is not remembered, which a {what} needs: other pages take all of "
            "podPages.maxHistoryBytes"
        )
    within = f" in the last {window} s" if window else ""
    return f"has been read only once{within}; a {what} needs two scrapes"


def _condition(reading: Reading) -> str:
    return ", ".join(f'{name}="{value}"' for name, value in reading.where)
