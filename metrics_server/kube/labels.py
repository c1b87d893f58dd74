"""Label selectors, parsed and matched as the Kubernetes API does (k8s.io/apimachinery/pkg/labels).

A selector is a list of requirements joined by commas, all of which must be met:

    app=web   app==web   app!=web   tier in (gpu,accel)   tier notin (cpu)   app   !app   n>1   n<9

`!=` and `notin` also match a pod without the label; `>` and `<` compare 64-bit integers.
Error messages are the API's own, so that they read as they do from kubectl.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Literal

from msgspec import Struct

from metrics_server.common.weight import MAX_KEPT_CHARACTERS
from metrics_server.errors import BadRequestError
from metrics_server.kube.label_syntax import key_problems, value_problems

MAX_SELECTOR_LENGTH = 8192
"""Characters in a selector: more than most proxies allow in a URL."""

# The spellings of k8s.io/apimachinery/pkg/selection; "==" becomes "=", which means the same.
Operator = Literal["=", "!=", "in", "notin", "exists", "!", "gt", "lt"]

_OPERATORS: Mapping[str, Operator] = {
    "in": "in",
    "notin": "notin",
    "=": "=",
    "==": "=",
    "!=": "!=",
    ">": "gt",
    "<": "lt",
}

_END = ""
_TOKEN = re.compile(r"==|!=|[=!(),<>]|[^ \t\r\n=!(),<>]+")
_NOT_A_WORD = frozenset({_END, "==", "!=", *"=!(),<>"})

_ABSENT: frozenset[str | None] = frozenset({None})
_INT64 = range(-(2**63), 2**63)
# A label's value has at most 63 characters; a longer run of digits cannot be one.
_INTEGER = re.compile(r"[+-]?[0-9]{1,63}")


class Requirement(Struct, frozen=True, order=True):
    """One condition on one label, as parsed by `parse_selector`.

    Attributes:
        key: the label's name, with its prefix.
        operator: how to compare its value.
        values: what to compare it with, sorted: empty for "exists" and "!", one or more for "in"
            and "notin", one for the others. The empty string is a value.
    """

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case _:
                symbol = {"gt": ">", "lt": "<"}.get(self.operator, self.operator)
                return f"{self.key}{symbol}{self.values[0]}"


class Selector(Struct, frozen=True, dict=True, cache_hash=True):
    """A label selector; without requirements, it matches everything.

    `str()` returns the canonical form, which parses back to an equal selector.

    Attributes:
        requirements: all must be met; sorted, without duplicates.
    """

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet every requirement."""
        for key, values, inside in self._memberships:
            if (labels.get(key) in values) is not inside:
                return False
        for key, span in self._spans:
            number = _int64(labels.get(key))
            if number is None or number not in span:
                return False
        return True

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    # One request checks thousands of pods, so whatever can be precomputed is computed once. Every
    # operator but two checks whether the value (None for an absent label) is in a set, or is not.
    @cached_property
    def _memberships(self) -> tuple[tuple[str, frozenset[str | None], bool], ...]:
        return tuple(
            (r.key, frozenset(r.values) or _ABSENT, r.operator in ("=", "in", "!"))
            for r in self.requirements
            if r.operator not in ("gt", "lt")
        )

    @cached_property
    def _spans(self) -> tuple[tuple[str, range], ...]:
        bounds = ((r, int(r.values[0])) for r in self.requirements if r.operator in ("gt", "lt"))
        return tuple(
            (r.key, range(n + 1, _INT64.stop) if r.operator == "gt" else range(_INT64.start, n))
            for r, n in bounds
        )


MAX_REQUIREMENTS = 64
"""Requirements in a selector: each of them is checked for every pod of the namespace."""


def parse_selector(text: str) -> Selector:
    """Parse the value of a labelSelector parameter, already form-decoded.

    Raises:
        BadRequestError: it is malformed, longer than `MAX_SELECTOR_LENGTH`, or has more than
            `MAX_REQUIREMENTS`.
    """
    if len(text) <= MAX_KEPT_CHARACTERS:
        return _known(text)
    if len(text) > MAX_SELECTOR_LENGTH:
        raise BadRequestError(
            f"the label selector has {len(text)} characters, "
            f"but at most {MAX_SELECTOR_LENGTH} are allowed: select by fewer labels or values"
        )
    return _parse(text)


def _parse(text: str) -> Selector:
    # A valid label has no lone surrogates, and they could not be sent back in the error.
    return _Parser(text.encode(errors="backslashreplace").decode()).selector()


# As many selectors as the HPAs of a large cluster have; bounded to limit memory.
_known = lru_cache(maxsize=512)(_parse)


class _Parser:
    """Reads the tokens of one selector from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str] = [*_TOKEN.findall(text), _END]
        self._position = 0

    def selector(self) -> Selector:
        if self._peek() == _END:
            return Selector()
        requirements: set[Requirement] = set()
        expected = "!, identifier, or 'end of string'"
        while True:
            if not (_is_word(self._peek()) or self._peek() == "!"):
                raise BadRequestError(_found(self._peek(), expected))
            try:
                requirements.add(self._requirement())
            except ValueError as error:
                raise BadRequestError(f"unable to parse requirement: {error}") from None
            if len(requirements) > MAX_REQUIREMENTS:
                raise BadRequestError(
                    f"the label selector has more than {MAX_REQUIREMENTS} requirements: select by "
                    "fewer labels"
                )
            if (separator := self._take()) == _END:
                return Selector(tuple(sorted(requirements)))
            if separator != ",":
                raise BadRequestError(_found(separator, "',' or 'end of string'"))
            expected = "identifier after ','"

    def _requirement(self) -> Requirement:
        if negated := self._peek() == "!":
            self._take()
        key = self._word()
        if problems := key_problems(key):
            # Here the API prints the invalid field, and there is none to name.
            raise ValueError(_invalid("<nil>", key, problems))
        if negated:
            return Requirement(key, "!")
        if self._peek() in (_END, ","):
            return Requirement(key, "exists")
        symbol = self._take()
        if (operator := _OPERATORS.get(symbol)) is None:
            raise ValueError(_found(symbol, "in, notin, =, ==, !=, gt, lt"))
        values = self._value_set() if operator in ("in", "notin") else {self._value()}
        return Requirement(key, operator, _checked(key, operator, values))

    def _value(self) -> str:
        return "" if self._peek() in (_END, ",") else self._word()

    def _value_set(self) -> set[str]:
        """Parse the values in parentheses; nothing before, between or after commas is a "" value.

        As in the API's parser, an even run of commas must not precede the closing parenthesis.
        """
        if (opening := self._take()) != "(":
            raise ValueError(f"found '{opening}' expected: '('")
        values: set[str] = set()
        commas = 0
        expected = "',', ')' or identifier"
        while (item := self._take()) != ")":
            if item == ",":
                commas += 1
                if commas > 1 or not values:
                    values.add("")
                expected = "',', or identifier"
            elif _is_word(item) and (commas or not values):
                values.add(item)
                commas = 0
                expected = "',' or ')'"
            else:
                raise ValueError(_found(item, expected))
        if commas and commas % 2 == 0:
            raise ValueError(_found(item, expected))
        return values | {""} if commas or not values else values

    def _word(self) -> str:
        if not _is_word(token := self._take()):
            raise ValueError(_found(token, "identifier"))
        return token

    def _peek(self) -> str:
        return self._tokens[self._position]

    def _take(self) -> str:
        self._position += 1
        return self._tokens[self._position - 1]


def _is_word(token: str) -> bool:
    return token not in _NOT_A_WORD


def _found(token: str, expected: str) -> str:
    return f"found '{token}', expected: {expected}"


def _invalid(field: str, value: str, problems: Iterable[str]) -> str:
    quoted = json.dumps(value, ensure_ascii=False)
    return f"{field}: Invalid value: {quoted}: {'; '.join(problems)}"


def _checked(key: str, operator: Operator, values: Iterable[str]) -> tuple[str, ...]:
    """Return the values, sorted; a ValueError for an invalid value, or a bound not an integer."""
    ordered = tuple(sorted(values))
    for index, value in enumerate(ordered):
        if operator in ("gt", "lt") and _int64(value) is None:
            problem = "for 'Gt', 'Lt' operators, the value must be an integer"
            raise ValueError(_invalid(f"values[{index}]", value, [problem]))
        if problems := value_problems(value):
            raise ValueError(_invalid(f"values[{index}][{key}]", value, problems))
    return ordered


def _int64(text: str | None) -> int | None:
    """Parse an integer as strconv.ParseInt(text, 10, 64) does; None if it is not one."""
    if text is None or not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if number in _INT64 else None
