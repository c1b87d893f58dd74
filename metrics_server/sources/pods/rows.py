"""From the rows of a pod's own page to the series of a reading.

Nothing here is guessed: if a row that belongs to a value cannot be trusted, there is no value,
because a sum or a mean without it would be a different number.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import inf, isfinite, isnan, nan

from msgspec import Struct

from metrics_server.common.numbers import parse_float
from metrics_server.common.weight import MAX_KEPT_CHARACTERS
from metrics_server.rules.model import Reading
from metrics_server.sources.pages.exposition import Row, parse_labels
from metrics_server.sources.pods.track import Key, Series, label_bytes

# For a reading over time, whose earlier values are kept: comparing two scrapes blocks the loop.
_MAX_KEPT_VALUES = 5000
_MIB = 1024 * 1024
# Of its labels in memory: a dozen for each of so many series.
_MAX_LABEL_BYTES = 16 * _MIB
# In place of a bucket's bound, where a series has one value.
_NO_BOUND = 0.0


class NoValue(Struct, frozen=True):
    """Why a page has no value.

    Attributes:
        why: a phrase that follows "the page".
    """

    why: str


class Unlabelled(NoValue, frozen=True):
    """The rows of a page do not have a label that the question's series selector needs."""


class Excluded(Struct, frozen=True):
    """A page has rows, but none that the question's series selector matches."""


class Found(Struct, frozen=True):
    """The series of a reading on a page.

    Attributes:
        series: those that can be trusted.
        doubts: why the others cannot, by key. Only for gauges: all counters of a page are recorded
            together, or none.
        label_bytes: what the labels of series over time take, whose earlier values are kept.
    """

    series: Series
    doubts: Mapping[Key, str] = {}
    label_bytes: int = 0


def read(reading: Reading, rows: Iterable[Row]) -> Found | NoValue:
    """Return the values of a reading's rows; empty if no row has its labels."""
    doubts: dict[frozenset[tuple[str, str]], str] = {}
    try:
        values = _by_labels(reading, rows, doubts)
        if reading.quantile is not None:
            return _remembered(reading, dict(_histogram(reading, *one) for one in values.items()))
    except _UnbelievableError as error:
        return NoValue(str(error))
    series: Series = {
        (labels, ()): (one[_NO_BOUND],) for labels, one in values.items() if labels not in doubts
    }
    if reading.rate:
        return _remembered(reading, series)
    return Found(series, {(labels, ()): why for labels, why in doubts.items()})


def _remembered(reading: Reading, series: Series) -> Found | NoValue:
    """Return series whose values are remembered, unless that takes too much."""
    size = label_bytes(series)
    if size > _MAX_LABEL_BYTES:
        return NoValue(
            f"has labels in the rows of {reading.rows} that take {size // _MIB} MiB, of which at "
            f"most {_MAX_LABEL_BYTES // _MIB} can be remembered: select some of them with the "
            "reading's where"
        )
    return Found(series, label_bytes=size)


class _UnbelievableError(Exception):
    """A row cannot be trusted; the message is the `why` of a `NoValue`."""


def _by_labels(
    reading: Reading, rows: Iterable[Row], doubts: dict[frozenset[tuple[str, str]], str]
) -> Mapping[frozenset[tuple[str, str]], Mapping[float, float]]:
    """Return the value of each series; of a histogram, the count of each bucket by its bound.

    Args:
        reading: the reading.
        rows: its rows.
        doubts: gets the reason for each series of a gauge that cannot be trusted.
    """
    values: dict[frozenset[tuple[str, str]], dict[float, float]] = {}
    seen: dict[_Place, float] = {}
    low, high = (0, inf) if reading.is_over_time else (reading.minimum, reading.maximum)
    for row in rows:
        short = len(row.labels) <= MAX_KEPT_CHARACTERS
        place = _known_place(reading, row.labels) if short else _place(reading, row.labels)
        if place is None:
            continue
        series, bound, _ = place
        doubt = ""
        if not isfinite(row.value) or not low <= row.value <= high:
            doubt = f"has a value of {reading.rows} that is out of range: {row.value:g}"
        elif seen.setdefault(place, row.value) != row.value:
            doubt = f"has two values for one row of {reading.rows}"
        if doubt:
            if reading.is_over_time:
                raise _UnbelievableError(doubt)
            doubts.setdefault(series, doubt)
            continue
        buckets = values.setdefault(series, {})
        buckets[bound] = max(row.value, buckets.get(bound, row.value))
    if reading.is_over_time and len(seen) > _MAX_KEPT_VALUES:
        raise _UnbelievableError(
            f"has {len(seen)} rows of {reading.rows}, of which at most {_MAX_KEPT_VALUES} can be "
            "remembered: select some of them with the reading's where"
        )
    return values


_Place = tuple[frozenset[tuple[str, str]], float, tuple[str, ...]]
"""The series of a row, its bucket, and which of the copies it is."""


def _place(reading: Reading, text: str) -> _Place | None:
    """Return what a row is of by its labels; None if it is not asked for."""
    labels = parse_labels(text)
    if None in labels.values():
        raise _UnbelievableError(f"has a row of {reading.rows} with a label twice")
    # As in Prometheus, a label that is absent is the same as an empty one.
    if any(labels.get(name, "") != value for name, value in reading.where):
        return None
    is_histogram = reading.quantile is not None
    bound = _bound(reading, labels.get("le") or "") if is_histogram else _NO_BOUND
    left_out = (*reading.copies, "le") if is_histogram else reading.copies
    series = ((name, value) for name, value in labels.items() if value and name not in left_out)
    return frozenset(series), bound, tuple([labels.get(name) or "" for name in reading.copies])


# The pods of a workload have the same labels on their pages, time and again.
_known_place = lru_cache(maxsize=8192)(_place)


def _bound(reading: Reading, text: str) -> float:
    try:
        bound = parse_float(text)
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
