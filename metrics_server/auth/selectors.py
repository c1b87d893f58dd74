"""A request's selectors, as a SubjectAccessReview has them (Kubernetes: AuthorizeWithSelectors).

An authorizer may allow a request only because of its selectors. They can only narrow it: one that
cannot be parsed is left out, and the request is authorized as if it selected everything.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct

from metrics_server.errors import BadRequestError
from metrics_server.kube.labels import Operator as LabelOperator
from metrics_server.kube.labels import parse_selector

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]

# `gt` and `lt` have no counterpart in a review.
_LABEL_OPERATORS: Mapping[LabelOperator, Operator] = {
    "=": "In",
    "in": "In",
    "!=": "NotIn",
    "notin": "NotIn",
    "exists": "Exists",
    "!": "DoesNotExist",
}
_NAME_FIELD = "metadata.name"
# The text between commas; a comma after a backslash is part of it.
_TERM = re.compile(r"(?:\\.|[^\\,])+", re.DOTALL)
_PARTS = re.compile(r"(?P<field>.*?)(?P<operator>!=|==|=)(?P<value>.*)", re.DOTALL)
_VALUE = re.compile(r"(?:\\[\\,=]|[^\\,=])*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Requirement(Struct, frozen=True, omit_defaults=True):
    """A meta/v1 FieldSelectorRequirement or LabelSelectorRequirement.

    Attributes:
        key: the field or the label.
        operator: how to compare its value.
        values: what to compare it with; empty for Exists and DoesNotExist.
    """

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


def label_requirements(selector: str) -> tuple[Requirement, ...]:
    """Return the requirements of a label selector; empty if it cannot be parsed."""
    try:
        parsed = parse_selector(selector)
    except BadRequestError:
        return ()
    return tuple(
        Requirement(one.key, _LABEL_OPERATORS[one.operator], one.values)
        for one in parsed.requirements
        if one.operator in _LABEL_OPERATORS
    )


def field_requirements(selector: str) -> tuple[Requirement, ...]:
    """Return the requirements of a field selector; empty if it cannot be parsed."""
    try:
        return tuple(sorted(_field_requirements(selector), key=lambda one: (one.key, one.values)))
    except ValueError:
        return ()


def name_of(fields: tuple[Requirement, ...]) -> str:
    """Return the one name that field requirements select; "" if they don't."""
    for one in fields:
        if one.key == _NAME_FIELD and one.operator == "In":
            (name,) = one.values
            # A name must be a valid path segment, as in Go's IsPathSegmentName.
            return "" if name in (".", "..") or "/" in name or "%" in name else name
    return ""


def _field_requirements(selector: str) -> Iterator[Requirement]:
    selector.encode()  # lone surrogates could not be sent
    if _TERM.sub("", selector).strip(","):
        raise ValueError("it ends within an escape")
    for term in _TERM.findall(selector):
        parts = _PARTS.fullmatch(term)
        if parts is None or not _VALUE.fullmatch(parts["value"]):
            raise ValueError("it is not of the form field=value")
        operator: Operator = "NotIn" if parts["operator"] == "!=" else "In"
        yield Requirement(parts["field"], operator, (_ESCAPED.sub(r"\1", parts["value"]),))
