"""Label selectors, parsed and matched as the API's documentation says.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors

It shares no code with `metrics_server.kube.labels`, so that a mistake in one of them fails a test
instead of canceling out.
"""

import re
from collections.abc import Callable, Mapping

from metrics_server.simulator.kube.statuses import StatusError

Condition = Callable[[Mapping[str, str]], bool]

_SYMBOLS = ("==", "!=", "=", ">", "<")
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
_KEY = re.compile(rf"(?:(?=[^/]{{1,253}}/){_DOMAIN}/)?{_NAME}")
_VALUE = re.compile(rf"(?:{_NAME})?")
_LONGEST_INTEGER = 63


class LabelSelector:
    """A label selector; an empty text selects everything.

    Args:
        text: the value of the labelSelector parameter.

    Raises:
        StatusError: it is malformed.
    """

    def __init__(self, text: str) -> None:
        rest = _Text(text)
        self._conditions: list[Condition] = []
        if not rest.peek():
            return
        while True:
            self._conditions.append(_condition(rest))
            separator = rest.take()
            if not separator:
                return
            if separator != ",":
                raise _malformed(f"found '{separator}', expected: ',' or 'end of string'")

    @property
    def everything(self) -> bool:
        """Whether everything is selected."""
        return not self._conditions

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet every condition."""
        return all(condition(labels) for condition in self._conditions)


class _Text:
    """The symbols and words of a selector, one by one; "" at its end."""

    def __init__(self, text: str) -> None:
        self._text = text.lstrip(" \t\r\n")

    def peek(self) -> str:
        for symbol in (*_SYMBOLS, "!", "(", ")", ","):
            if self._text.startswith(symbol):
                return symbol
        end = 0
        while end < len(self._text) and self._text[end] not in " \t\r\n=!<>(),":
            end += 1
        return self._text[:end]

    def take(self) -> str:
        taken = self.peek()
        self._text = self._text[len(taken) :].lstrip(" \t\r\n")
        return taken

    def word(self) -> str:
        """Take the next token, which must be a word."""
        taken = self.take()
        if not _is_word(taken):
            raise _malformed(f"unable to parse requirement: found '{taken}', expected: identifier")
        return taken


def _is_word(taken: str) -> bool:
    return bool(taken) and taken not in (*_SYMBOLS, "!", "(", ")", ",")


def _condition(rest: _Text) -> Condition:
    """Parse one condition: KEY, !KEY, KEY = VALUE, KEY in (VALUES) and so on."""
    absent = rest.peek() == "!"
    if absent:
        rest.take()
    key = rest.word()
    if not _KEY.fullmatch(key):
        raise _malformed(f'unable to parse requirement: <nil>: Invalid value: "{key}"')
    if absent:
        return lambda labels: key not in labels
    if rest.peek() in ("", ","):
        return lambda labels: key in labels
    operator = rest.take()
    if operator in ("in", "notin"):
        values = _values(rest)
    elif operator in _SYMBOLS:
        values = frozenset({_checked(_value(rest))})
    else:
        raise _malformed(
            f"unable to parse requirement: found '{operator}', expected: "
            "in, notin, =, ==, !=, gt, lt"
        )
    if operator in (">", "<"):
        (bound,) = map(_integer, values)
        return lambda labels: _is_beyond(labels.get(key), operator, bound)
    if operator in ("notin", "!="):
        return lambda labels: key not in labels or labels[key] not in values
    return lambda labels: key in labels and labels[key] in values


def _value(rest: _Text) -> str:
    """Parse the value after a symbol; if there is nothing, it is the empty value."""
    return "" if rest.peek() in ("", ",") else rest.word()


def _values(rest: _Text) -> frozenset[str]:
    """Parse the values in parentheses; nothing between two commas is the empty value."""
    if (opening := rest.take()) != "(":
        raise _malformed(f"unable to parse requirement: found '{opening}' expected: '('")
    between = [""]
    commas = 0
    while (taken := rest.take()) != ")":
        if taken == ",":
            between.append("")
            commas += 1
        elif _is_word(taken) and not between[-1]:
            between[-1] = taken
            commas = 0
        else:
            raise _malformed(f"unable to parse requirement: found '{taken}', expected: ',' or ')'")
    # The API's parser takes commas in pairs, and rejects a pair at the end of the list.
    if commas and commas % 2 == 0:
        raise _malformed("unable to parse requirement: found ')', expected: ',', or identifier")
    return frozenset(_checked(value) for value in between)


def _checked(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise _malformed(f'unable to parse requirement: values[0]: Invalid value: "{value}"')
    return value


def _integer(value: str) -> int:
    number = _int64(value)
    if number is None:
        raise _malformed(
            f'unable to parse requirement: values[0]: Invalid value: "{value}": '
            "for 'Gt', 'Lt' operators, the value must be an integer"
        )
    return number


def _is_beyond(value: str | None, operator: str, bound: int) -> bool:
    number = None if value is None else _int64(value)
    if number is None:
        return False
    return number > bound if operator == ">" else number < bound


def _int64(text: str) -> int | None:
    """Parse an integer as Go's ParseInt does in base 10, with 64 bits; None if it is not one."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_INTEGER):
        return None
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else None


def _malformed(message: str) -> StatusError:
    return StatusError(400, message)
