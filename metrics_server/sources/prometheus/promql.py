"""Parts of PromQL, written so that no text can change the meaning of a query around it."""

import re
from collections.abc import Iterable

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
# Characters to escape in a quoted string besides backslashes, most of them by number: Prometheus
# rejects, for example, U+FFFD as it is.
_ESCAPED = re.compile(r"[^ !#-~]")
# What has a meaning in a regular expression; the backslash that escapes the others is the first.
_SPECIAL = r"\.+*?()|[]{}^$"
_MOST_BMP = 0xFFFF
_SURROGATES = range(0xD800, 0xE000)


def quoted(text: str) -> str:
    """Return a text as a PromQL string, in double quotes.

    Raises:
        ValueError: the text has a lone surrogate, which is not a character.
    """
    escaped = text.replace("\\", r"\\")
    return f'"{_ESCAPED.sub(_escaped, escaped)}"'


def equal(label: str, value: str) -> str:
    """Return a matcher for one value of a label; "" also matches series without the label.

    Raises:
        ValueError: the label is not the name of one, or the value has a lone surrogate.
    """
    return f"{_checked(label)}={quoted(value)}"


def one_of(label: str, values: Iterable[str]) -> str:
    """Return a matcher for any of some values of a label, each of them whole.

    Raises:
        ValueError: the label is not the name of one, there are no values, or one of them has a
            lone surrogate.
    """
    distinct = tuple(dict.fromkeys(values))
    if len(distinct) == 1:
        return equal(label, distinct[0])
    return f"{_checked(label)}=~{quoted(alternatives(distinct))}"


def alternatives(values: Iterable[str]) -> str:
    """Return a regular expression (RE2) for any of some texts; Prometheus anchors it.

    Raises:
        ValueError: there are no values: an empty expression would match series without the label.
    """
    escaped = list(map(_literal, values))
    if not escaped:
        raise ValueError("there are no values to match")
    return "|".join(escaped)


def is_label_name(name: str) -> bool:
    """Return whether a text can be written as the name of a label."""
    return _LABEL_NAME.fullmatch(name) is not None


def is_metric_name(name: str) -> bool:
    """Return whether a text can be written as the name of a metric."""
    return _METRIC_NAME.fullmatch(name) is not None


def _checked(label: str) -> str:
    if not is_label_name(label):
        raise ValueError(f"{label!r} is not the name of a label")
    return label


def _literal(text: str) -> str:
    # Faster than a regular expression, for the names of thousands of pods.
    for character in _SPECIAL:
        text = text.replace(character, f"\\{character}")
    return text


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character == '"':
        return r"\""
    number = ord(character)
    if number in _SURROGATES:
        raise ValueError("a lone surrogate is not a character")
    return f"\\u{number:04x}" if number <= _MOST_BMP else f"\\U{number:08x}"
