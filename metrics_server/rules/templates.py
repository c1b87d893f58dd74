"""Queries in PromQL with placeholders for the pods that a question selects.

The placeholders are those of prometheus-adapter, as far as they make sense here:

- `<<.Namespace>>` is the namespace, in quotes: `namespace=<<.Namespace>>`.
- `<<.Pods>>` is a regular expression for the pods, in quotes: `pod=~<<.Pods>>`.
- `<<.LabelMatchers>>` is both: `namespace="…",pod=~"…"`.
- `<<.GroupBy>>` is the label with the pod's name: `sum by (<<.GroupBy>>) (…)`.

The values are complete strings in PromQL's syntax. So a placeholder within a string of the query is
an error, and whatever a value contains, it cannot change the meaning of the query around it.
"""

import re
from collections.abc import Mapping
from typing import Literal

Placeholder = Literal["Namespace", "Pods", "LabelMatchers", "GroupBy"]

PLACEHOLDERS: tuple[Placeholder, ...] = ("Namespace", "Pods", "LabelMatchers", "GroupBy")

MAX_LENGTH = 4000
"""Characters of a query, without the values of its placeholders."""

# What stands for the value of a placeholder while a query is read: nothing else in it can be the
# same, because no string of a query has "<<" in it.
_MARKS: Mapping[str, str] = {
    "Namespace": '"<<.Namespace>>"',
    "Pods": '"<<.Pods>>"',
    "LabelMatchers": 'namespace="<<.LabelMatchers>>"',
}
_MARKED = {mark: name for name, mark in _MARKS.items()}
_MARK = re.compile("|".join(map(re.escape, _MARKED)))
_INSTEAD = {
    "Series": "write the name of the series",
    "LabelValuesByName": "write <<.LabelMatchers>>",
    "GroupBySlice": "write <<.GroupBy>>",
}
# A string, a comment, a placeholder, a bracket, or any other character.
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)"""
    r"|(?P<comment>\#[^\n]*)"
    r"|<<\s*\.?(?P<name>\w*)[^>\n]{0,40}>>"
    r"|(?P<bracket>[(){}\[\]])"
    r"|(?P<other>.)",
    re.DOTALL,
)
_CLOSING = {"(": ")", "{": "}", "[": "]"}


def parse(text: str) -> tuple[str | Placeholder, ...]:
    """Return the parts of a query: text at even places, placeholders at odd ones.

    Raises:
        ValueError: it cannot be a query, or a placeholder is not known or is within a string.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"must have at most {MAX_LENGTH} characters")
    if not text.strip():
        raise ValueError("is empty")
    parts: list[str] = [""]
    brackets: list[str] = []
    for token in _TOKEN.finditer(text):
        _check(token)
        if token["comment"] is not None:
            # It could end a query in the middle of a line.
            continue
        if token["bracket"] is not None:
            _match(token[0], brackets)
        if token["name"] is None:
            parts[-1] += token[0]
        else:
            parts += [_known(token["name"], token[0]), ""]
    if brackets:
        raise ValueError(f"{brackets[-1]} is missing at the end")
    return tuple(parts)


def placeholders(parts: tuple[str | Placeholder, ...]) -> frozenset[str]:
    """Return the placeholders among the parts of a query."""
    return frozenset(parts[1::2])


def marked(parts: tuple[str | Placeholder, ...], label: str) -> str:
    """Return a query as plain PromQL, with a mark in place of the value of each placeholder.

    Args:
        parts: the parts of the query.
        label: the value of `<<.GroupBy>>`, which is the same for all pods.
    """
    values = {**_MARKS, "GroupBy": label}
    return "".join(values[part] if number % 2 else part for number, part in enumerate(parts))


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return a marked query, or a part of one, with the values of its placeholders."""
    return _MARK.sub(lambda mark: values[_MARKED[mark[0]]], text)


def _check(token: re.Match[str]) -> None:
    if token["string"] is not None and "<<" in token[0]:
        raise ValueError(
            f"{token[0]} has a placeholder in quotes: write it without them, such as "
            "namespace=<<.Namespace>>, as its value has its own"
        )
    if token["other"] in ('"', "'", "`"):
        raise ValueError(f"a string that begins with {token[0]} has no end")


def _match(bracket: str, expected: list[str]) -> None:
    if bracket in _CLOSING:
        expected.append(_CLOSING[bracket])
    elif not expected or expected.pop() != bracket:
        raise ValueError(f"{bracket} has no opening bracket")


def _known(name: str, found: str) -> Placeholder:
    if name not in PLACEHOLDERS:
        instead = _INSTEAD.get(name, "use " + ", ".join(f"<<.{one}>>" for one in PLACEHOLDERS[:-1]))
        raise ValueError(f"{found} is not a placeholder here: {instead}")
    return name
