"""From the series on a pod's own pages to the pod's value."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from statistics import fmean
from typing import Protocol

from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.rules.model import Aggregation, MetricRule, Reading
from metrics_server.sources.pods.history import Unknown
from metrics_server.sources.pods.quantiles import Buckets, added, quantile_of
from metrics_server.sources.pods.rows import Excluded, Found, NoValue
from metrics_server.sources.pods.track import Increase, Series

# Characters of a value or a name on a page, in a message.
_MAX_SHOWN = 60
# For pages of one pod that are read in different ways and cannot be added up.
_UNLIKE = "is from a different engine than the pod's other pages: they have no quantile in common"

_AGGREGATIONS: Mapping[Aggregation, Callable[[Sequence[float]], float]] = {
    "avg": fmean,
    "max": max,
    "min": min,
    "sum": sum,
}


class Page(Protocol):
    """A page, as far as values are read from it."""

    def has(self, name: str) -> bool:
        """Return whether there are rows of this name."""
        ...

    def is_zero(self, reading: Reading) -> bool:
        """Return whether the page shows that the absence of a reading's rows means 0."""
        ...

    def series(self, reading: Reading) -> Found | NoValue | None:
        """Return what `read` returns for the reading's rows; None if they do not count."""
        ...

    @property
    def left_out(self) -> NoValue | Excluded | None:
        """What it means for the pod that rows did not count; None if all did."""
        ...


Increases = Callable[[Reading, Series], Increase | Unknown]
"""Returns how much counters grew within the rule's window, or why that is not known."""


class Part(Struct, frozen=True):
    """A page's contribution to the value of its pod.

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


def part_of(rule: MetricRule, page: Page, increases: Increases) -> Part | NoValue | Excluded:
    """Return what a page contributes to the value of its pod."""
    present: list[Reading] = []
    for reading in rule.readings:
        is_here = not reading.beside or any(map(page.has, reading.beside))
        series = page.series(reading) if is_here and page.has(reading.rows) else None
        if series is None:
            if page.is_zero(reading):
                return Part((0.0,))
            continue
        present.append(reading)
        if isinstance(series, NoValue):
            return series
        if series.doubts:
            return NoValue(next(iter(series.doubts.values())))
        if series.series:
            return _part(rule, reading, series.series, increases)
    return page.left_out or _none_of(rule, present)


def _none_of(rule: MetricRule, present: Sequence[Reading]) -> NoValue:
    """Return why no reading has a value, although the rows of some are present."""
    if present:
        labels = " or ".join(dict.fromkeys(map(_condition, present)))
        return NoValue(f"has no row of {printable(present[0].rows, _MAX_SHOWN)} with {labels}")
    return NoValue(
        f"has none of the families that {rule.name} is read from, such as {rule.readings[0].family}"
    )


def labels_of(rule: MetricRule, page: Page) -> Iterable[Mapping[str, str]]:
    """Return the labels of each series of a page that the rule reads."""
    for reading in rule.readings:
        found = page.series(reading)
        if isinstance(found, Found):
            for labels, _ in chain(found.series, found.doubts):
                yield dict(labels)


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
