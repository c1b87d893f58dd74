"""The result of an instant query, decoded from JSON within bounds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from metrics_server.common.numbers import parse_float
from metrics_server.common.text import printable
from metrics_server.errors import QueryError
from metrics_server.sources.prometheus.pieces import MOST_SERIES_BYTES, split, too_long

# Prometheus's messages are shown in events, which are short.
_MOST_WORDS = 200
_MOST_WARNINGS = 8
_MOST_WARNING_BYTES = 64 * 1024
# A series has two objects: itself and its labels. Braces in values add to that.
_BRACES_PER_SERIES = 16
# Four for each label, two for each of some other texts.
_QUOTES_PER_SERIES = 256
_SPARE = 1000
# Digits of a number, which is converted in one step.
_MOST_DIGITS = 400

Labels = Mapping[str, str]


# Not tracked by the garbage collector, because 20,000 of them would be a lot of work for it.
class Series(Struct, frozen=True, gc=False):
    """One element of an instant vector.

    Attributes:
        labels: its labels, with `__name__` where the query keeps it.
        value: may be NaN or infinite, as Prometheus writes it.
        timestamp: when the query was evaluated, in seconds since the epoch; not the sample's time.
    """

    labels: Labels
    value: float
    timestamp: float


class Vector(Struct, frozen=True):
    """The result of an instant query.

    Attributes:
        series: its elements; a scalar is one without labels.
        warnings: what Prometheus, Thanos or Mimir remarked, each on one printable line: for
            example, that a part of the data is missing.
    """

    series: tuple[Series, ...]
    warnings: tuple[str, ...] = ()


class _Data(Struct):
    resultType: str  # noqa: N815 - as it is on the wire
    result: Raw


class _Answer(Struct):
    status: str
    data: _Data | None = None
    errorType: str = ""  # noqa: N815 - as it is on the wire
    error: str = ""
    warnings: Raw | UnsetType = UNSET
    infos: Raw | UnsetType = UNSET
    isPartial: bool = False  # noqa: N815 - as it is on the wire


class _Element(Struct, gc=False):
    metric: Raw
    value: tuple[float, str] | UnsetType = UNSET
    histogram: Raw | UnsetType = UNSET


_ANSWER = msgspec.json.Decoder(_Answer)
_ELEMENTS = msgspec.json.Decoder(list[_Element])
_LABELS = msgspec.json.Decoder(dict[str, str])
_POINT = msgspec.json.Decoder(tuple[float, str])
_WORDS = msgspec.json.Decoder(list[str] | None)


def decode(body: bytes | bytearray, most_series: int) -> Iterator[Vector]:
    """Decode an answer of the query API, in parts, each of which takes a few milliseconds.

    Args:
        body: the JSON.
        most_series: how many series are accepted.

    Raises:
        QueryError: it is not a vector or a scalar, or it is too large.
    """
    last: Vector | None = None
    count = 0
    braces = _BRACES_PER_SERIES * most_series + _SPARE
    quotes = _QUOTES_PER_SERIES * most_series + _SPARE
    for piece in split(body):
        # They bound the number of objects, before any is made.
        braces -= piece.count(b"{")
        quotes -= piece.count(b'"')
        if min(braces, quotes) < 0:
            raise _too_large(f"far more than {most_series} series")
        part = _part(piece, is_answer=last is None)
        count += len(part.series)
        if count > most_series:
            raise _too_large(f"more than {most_series} series")
        if last is None:
            last = part
        else:
            yield part
    if last is not None:
        yield last


def joined(parts: Iterable[Vector]) -> Vector:
    """Return the parts of an answer as one."""
    series: list[Series] = []
    warnings: list[str] = []
    for part in parts:
        series += part.series
        warnings += part.warnings
    return Vector(tuple(series), tuple(warnings))


def _part(piece: bytes | bytearray, *, is_answer: bool) -> Vector:
    """Decode a whole answer, or an array of series."""
    try:
        if not is_answer:
            return Vector(_series(_ELEMENTS.decode(piece)))
        answer = _ANSWER.decode(piece)
        if answer.status != "success":
            words = printable(f"{answer.errorType}: {answer.error}", _MOST_WORDS)
            raise QueryError(f"Prometheus reported an error: {words}", "bad-query")
        if answer.data is None:
            raise _invalid("no data")
        return Vector(_result(answer.data), _warnings(answer))
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if "truncated" in str(error):
            raise QueryError(
                "Prometheus's answer was cut short; see its log, and that of a proxy in front "
                "of it",
                "cut-short",
            ) from None
        raise _invalid(str(error)) from None
    except RecursionError:
        raise _invalid("nested too deeply") from None


def _result(data: _Data) -> tuple[Series, ...]:
    if data.resultType == "scalar":
        return (_one({}, _POINT.decode(data.result)),)
    if data.resultType != "vector":
        kind = printable(data.resultType, 40)
        raise QueryError(
            f"the query returns a {kind}, not an instant vector; a range such as [5m] needs a "
            "function around it, such as rate or avg_over_time",
            "not-a-vector",
        )
    return _series(_ELEMENTS.decode(data.result))


def _series(elements: Sequence[_Element]) -> tuple[Series, ...]:
    series: list[Series] = []
    for element in elements:
        if element.value is UNSET:
            if element.histogram is UNSET:
                raise _invalid("a series has no value")
            raise QueryError(
                "the query returns native histograms, not numbers; use a function such as "
                "histogram_quantile",
                "not-a-vector",
            )
        if memoryview(element.metric).nbytes > MOST_SERIES_BYTES:
            raise too_long()
        series.append(_one(_LABELS.decode(element.metric), element.value))
    return tuple(series)


def _one(labels: Labels, point: tuple[float, str]) -> Series:
    timestamp, text = point
    try:
        value = parse_float(text if len(text) <= _MOST_DIGITS else "")
    except ValueError:
        raise _invalid(f"{printable(text, 40)} is not a number") from None
    return Series(labels, value, timestamp)


def _warnings(answer: _Answer) -> tuple[str, ...]:
    words = [*_words(answer.warnings), *_words(answer.infos)]
    if answer.isPartial:
        words.insert(0, "the answer is partial (isPartial)")
    if len(words) > _MOST_WARNINGS:
        words[_MOST_WARNINGS - 1 :] = [f"and {len(words) - _MOST_WARNINGS + 1} more warnings"]
    return tuple(printable(one, _MOST_WORDS) for one in words)


def _words(raw: Raw | UnsetType) -> list[str]:
    if raw is UNSET:
        return []
    if memoryview(raw).nbytes > _MOST_WARNING_BYTES:
        return ["more warnings than can be shown"]
    return _WORDS.decode(raw) or []


def _too_large(what: str) -> QueryError:
    return QueryError(
        f"Prometheus returned {what} (prometheus.maxSeries); select less, or aggregate in the "
        "query",
        "too-large",
    )


def _invalid(what: str) -> QueryError:
    return QueryError(
        f"Prometheus's answer is not one of its query API ({printable(what, 100)}); check "
        "prometheus.url",
        "not-json",
    )
