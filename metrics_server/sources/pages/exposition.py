"""The Prometheus text format, one family of a page at a time.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, "Text format details".

A row that cannot be read exactly is dropped, without affecting other rows, or is an error. Parsing
takes linear time, whatever the page contains.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from msgspec import Struct

from metrics_server.common.numbers import NUMBER

# Quantifiers are possessive, and at every point only one alternative can match: a row that does not
# match causes no backtracking.
_BLANKS = r"[ \t]*+"
_NAME = r"[a-zA-Z_][a-zA-Z0-9_]*+"
_EQUALS = rf"{_BLANKS}={_BLANKS}"
# As in Prometheus, a backslash before any other character stands for itself.
_TEXT = r'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*'
_LABEL = rf'{_NAME}{_EQUALS}"{_TEXT}"{_BLANKS}(?:,{_BLANKS}|(?=\}}))'
_TIMESTAMP = r"[+-]?[0-9]{1,19}"
# An OpenMetrics exemplar, after the value of a counter or a bucket.
_EXEMPLAR = (
    rf"[ \t]++#{_BLANKS}\{{{_BLANKS}(?:{_LABEL})*\}}[ \t]++(?:{NUMBER})"
    r"(?:[ \t]++[0-9]{1,19}(?:\.[0-9]{1,9})?)?"
)
# What follows the family's name in a row. "\r" may end the line, as in prometheus_client.
_ROW = re.compile(
    (
        rf"(?:{_BLANKS}\{{{_BLANKS}((?:{_LABEL})*)\}}{_BLANKS}|[ \t]++)"
        rf"({NUMBER})(?:[ \t]++{_TIMESTAMP})?(?:{_EXEMPLAR})?{_BLANKS}\r?\n"
    ).encode()
)
# The same without blanks and escapes, as nearly all exporters write it: twice as fast to match.
_PLAIN_LABEL = rf'{_NAME}="[^"\\\n]*+"(?:,|(?=\}}))'
_PLAIN_ROW = re.compile(rf"\{{((?:{_PLAIN_LABEL})*)\}} ({NUMBER})\n".encode())
_PLAIN_VALUE = re.compile(rf" ({NUMBER})\n".encode())
# What may come before the ending of a family's name on its line.
_PREFIX = re.compile(rb"[ \t]*+([a-zA-Z_:][a-zA-Z0-9_:]*+)?")
# A row up to its last brace; and the labels at the start of its contents.
_LABELLED = re.compile(rb"\n[ \t]*+[a-zA-Z_:][a-zA-Z0-9_:]*+[ \t]*+\{[ \t]*+([^\n]*)\}")
_LABELS = re.compile(rf"((?:{_LABEL})*+)\}}".encode())
# What makes a name another, longer one.
_GOES_ON = re.compile(rb"[a-zA-Z0-9_:]")
# How many characters of label names are remembered, and of how many exporters.
_MOST_NAMES = 4096
_MAX_NAMES = 256
# The longest page that is searched backwards. Python does that in half the time, but may compare
# the whole text at each position: a few milliseconds at this length, whatever the page contains.
_SHORT_BYTES = 128 * 1024
_PAIRS = re.compile(rf'({_NAME}){_EQUALS}"({_TEXT})"')
_ESCAPES = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", '"': '"', "\\": "\\"}


class Row(Struct, frozen=True, gc=False):
    """A row of a family.

    Attributes:
        labels: the well-formed text between its braces, for `parse_labels`. Most callers see the
            same labels many times, and need to parse them only once.
        value: its value; NaN and infinities are values too.
    """

    labels: str
    value: float


class UnreadableRowError(ValueError):
    """A row cannot be read exactly; the message is its line."""


def rows(page: bytes, family: str, likely: Sequence[str] = (), *, exact: bool = False) -> list[Row]:
    """Return the rows of one family, in the order of the page.

    The rest of the page is ignored. A row is dropped if its labels or value cannot be read exactly
    or if it is not UTF-8, and so is a last line without a line feed, as its value may be cut short.
    A timestamp is allowed and ignored, and so is an exemplar.

    Args:
        page: the body of an exporter's response.
        family: the exact name of the rows, such as DCGM_FI_DEV_GPU_UTIL.
        likely: the labels of another family's rows. If these have the same in the same order, as
            nearly always, they are compared, which is faster than matching them.
        exact: whether a row that cannot be read is an error, instead of being dropped.

    Raises:
        UnreadableRowError: there is such a row, if `exact`.
    """
    name = family.encode()
    length = len(name)
    plain, any_row, plain_value = _PLAIN_ROW.match, _ROW.match, _PLAIN_VALUE.match
    guesses = iter(likely)
    found: list[Row] = []
    end = 0
    last = page.rfind(name) if len(page) <= _SHORT_BYTES else len(page)
    while end <= last and (at := page.find(name, end)) >= 0:
        row = None
        begins = at == end or not page[page.rfind(b"\n", 0, at) + 1 : at].strip(b" \t")
        # The rows of a family usually follow one another. Unless it is at the start of a line, the
        # name is part of a comment, of a label or of another name.
        if begins:
            guess = next(guesses, None)
            if guess is not None:
                braced = b"{%b}" % guess.encode()
                if page.startswith(braced, at + length):
                    value = plain_value(page, at + length + len(braced))
                    if value is not None:
                        end = value.end()
                        found.append(Row(guess, float(value[1])))
                        continue
            row = plain(page, at + length) or any_row(page, at + length)
        if row is None:
            # A line is examined once, however often it contains the name.
            end = page.find(b"\n", at) + 1 or len(page)
            if exact and begins and not _GOES_ON.match(page, at + length):
                raise _unreadable(page, at)
            continue
        end = row.end()
        labels, number = row.groups(b"")
        try:
            found.append(Row(labels.decode(), float(number)))
        except UnicodeDecodeError:
            if exact:
                raise _unreadable(page, at) from None
    return found


def _unreadable(page: bytes, at: int) -> UnreadableRowError:
    line = page[at:].partition(b"\n")[0].rstrip(b"\r")
    return UnreadableRowError(line.decode(errors="replace"))


def contains(page: bytes, text: str) -> bool:
    """Return whether a page contains a text, anywhere."""
    part = text.encode()
    return page.rfind(part) >= 0 if len(page) <= _SHORT_BYTES else part in page


def prefixed_rows(page: bytes, ending: str) -> list[tuple[str, Row]]:
    """Return the rows of every family whose name has this ending, each with the name's prefix.

    Otherwise the same as `rows`.
    """
    name = ending.encode()
    found: list[tuple[str, Row]] = []
    end = 0
    while (at := page.find(name, end)) >= 0:
        line = page.rfind(b"\n", 0, at) + 1
        prefix = _PREFIX.fullmatch(page, line, at)
        row = prefix and _ROW.match(page, at + len(name))
        if prefix and row:
            end = row.end()
            labels, value = row.groups(b"")
            with suppress(UnicodeDecodeError):
                found.append(((prefix[1] or b"").decode(), Row(labels.decode(), float(value))))
            continue
        end = page.find(b"\n", at) + 1
        if end == 0:
            break
    return found


def label_texts(page: bytes) -> set[str]:
    """Return the labels of every row of a page, of all families, each distinct text once.

    A row whose value is text or missing counts too: it has no value, but its labels name a GPU.
    Rows without labels, or whose labels cannot be read exactly, are left out.
    """
    found: set[str] = set()
    for text in set(_LABELLED.findall(b"\n" + page)):
        # If the value is text with a brace in it, more than the labels was matched.
        labels = _LABELS.match(text + b"}")
        if labels:
            with suppress(UnicodeDecodeError):
                found.add(labels[1].decode())
    return found


def parse_labels(labels: str) -> Mapping[str, str | None]:
    """Return the labels of a row, by name.

    Args:
        labels: well-formed, as in a `Row`.

    Returns:
        Each label's value with its escapes decoded; None for a label that appears twice with
        different values, as dcgm-exporter 4.0 to 4.8.2 writes it if a label of the pod has the
        name of one of its own.
    """
    if "\\" not in labels:
        # Without an escape, as nearly always, each quote begins or ends a value: a split is enough.
        texts = labels.split('"')
        between = '"'.join(texts[:-1:2])
        # The rows of an exporter nearly always have the same names.
        names = (_remembered_names if len(between) <= _MOST_NAMES else _names)(between)
        if names:
            return dict(zip(names, texts[1::2], strict=True))
    values: dict[str, str | None] = {}
    for name, quoted in _PAIRS.findall(labels):
        value = _ESCAPES.sub(_unescape, quoted) if "\\" in quoted else quoted
        if values.setdefault(name, value) != value:
            values[name] = None
    return values


def _names(between: str) -> tuple[str, ...]:
    """Return the names of labels, from the texts between their values; () if one is repeated."""
    names = tuple(text.strip("\t ,=") for text in between.split('"')) if between else ()
    return names if len(set(names)) == len(names) else ()


_remembered_names = lru_cache(_MAX_NAMES)(_names)


def _unescape(escape: re.Match[str]) -> str:
    return _ESCAPED.get(escape[1], escape[0])
