"""Explains why no row matches a question's series selector, by the labels that the rows have."""

from collections.abc import Iterable, Mapping
from itertools import islice

from metrics_server.common.text import printable
from metrics_server.errors import NoSeriesMatchesError
from metrics_server.measuring.samples import Gap
from metrics_server.rules.series import (
    SeriesMatcher,
    SeriesRequirement,
    SeriesSelector,
    selector_form,
)

# How many rows are examined, and of their labels, for all requirements; how many labels or values
# are listed, and shown of each.
_ROWS = 5_000
_MAX_LABELS = 100_000
_COMPARISON = 12
_LISTED = 10
_MAX_SHOWN = 80
_MAX_SELECTOR = 150
# Characters of all that is listed.
_MAX_LISTED = 330


def gap_of_series(
    selector: SeriesSelector, what: str, rows: Iterable[Mapping[str, str]], *, is_all: bool
) -> Gap:
    """Return why pods have no row that matches: which labels there are, or values of one label.

    Args:
        selector: what is required of the rows.
        what: what does not match, such as "no GPU".
        rows: the labels of these pods' rows, and of no others.
        is_all: whether these are all pods that were selected.

    Raises:
        NoSeriesMatchesError: they are.
    """
    why = _why(selector, _examined(selector, rows))
    shown = printable(str(selector), _MAX_SELECTOR)
    if is_all:
        raise NoSeriesMatchesError(f"{what} of the selected pods matches {shown}: {why}")
    return Gap("no-sample", f"{what} of other pods matches {shown}: {why}")


def _examined(
    selector: SeriesSelector, rows: Iterable[Mapping[str, str]]
) -> list[Mapping[str, str]]:
    """Return as many of the rows as can be examined without delaying others."""
    found: list[Mapping[str, str]] = []
    labels, compared = 0, _COMPARISON * len(selector.requirements)
    for row in islice(rows, _ROWS):
        labels += len(row) + compared
        if found and labels > _MAX_LABELS:
            break
        found.append(row)
    return found


def _why(selector: SeriesSelector, rows: list[Mapping[str, str]]) -> str:
    for one in selector.requirements:
        if not any(map(SeriesMatcher(SeriesSelector((one,))).matches, rows)):
            return _why_one(one, rows)
    return "each of these conditions is met by some row, but none meets them all"


def _why_one(one: SeriesRequirement, rows: list[Mapping[str, str]]) -> str:
    label = printable(one.label, _MAX_SHOWN)
    values = {row[one.label] for row in rows if row.get(one.label)}
    if values or not one.needs_label:
        shown = _listed(map(_value, sorted(values)))
        if len(values) == 1:
            return f"the value of {label} is {shown}"
        return f"the values of {label} are {shown}"
    names = {name for row in rows for name, value in row.items() if value}
    shown = _listed(printable(name, _MAX_SHOWN) for name in sorted(names))
    if len(names) == 1:
        return f"no row has the label {label}; the only label is {shown}"
    return f"no row has the label {label}; the labels are {shown}"


def _value(value: str) -> str:
    """Return a value as it is on the page, and its selector form if that differs."""
    shown = f'"{printable(value, _MAX_SHOWN)}"'
    form = selector_form(value)
    return shown if form == value else f"{shown} (in a selector: {printable(form, _MAX_SHOWN)})"


def _listed(texts: Iterable[str]) -> str:
    """Return the first few, and that there are more."""
    shown: list[str] = []
    length = 0
    for text in texts:
        length += len(text) + 2
        if shown and (len(shown) == _LISTED or length > _MAX_LISTED):
            return f"{', '.join(shown)} and others"
        shown.append(text)
    return ", ".join(shown) or "none"
