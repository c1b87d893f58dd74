"""What a request selects by, as a SubjectAccessReview has it (Kubernetes: AuthorizeWithSelectors).

An authorizer may allow less to who selects less. Selectors only narrow: one that cannot be read is
left out, and the request is authorized as if it asked for everything.
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
# What stands between commas; a comma after a backslash is part of it.
_TERM = re.compile(r"(?:\\.|[^\\,])+", re.DOTALL)
_PARTS = re.compile(r"(?P<field>.*?)(?P<operator>!=|==|=)(?P<value>.*)", re.DOTALL)
_VALUE = re.compile(r"(?:\\[\\,=]|[^\\,=])*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Requirement(Struct, frozen=True, omit_defaults=True):
    """A meta/v1 FieldSelectorRequirement or LabelSelectorRequirement.

    Attributes:
        key: the field or the label.
        operator: how its value is compared.
        values: what it is compared with; none for Exists and DoesNotExist.
    """

    key: str
    operator: Operator
    values: tuple[str, ...] = ()


def label_requirements(selector: str) -> tuple[Requirement, ...]:
    """What a label selector requires; nothing where it cannot be read."""
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
    """What a field selector requires; nothing where it cannot be read."""
    try:
        return tuple(sorted(_field_requirements(selector), key=lambda one: (one.key, one.values)))
    except ValueError:
        return ()


def name_of(fields: tuple[Requirement, ...]) -> str:
    """The one name that fields select; "" where they do not."""
    for one in fields:
        if one.key == _NAME_FIELD and one.operator == "In":
            (name,) = one.values
            # What is no segment of a path is no name, as in Go's IsPathSegmentName.
            return "" if name in (".", "..") or "/" in name or "%" in name else name
    return ""


def _field_requirements(selector: str) -> Iterator[Requirement]:
    selector.encode()  # what is no text could not be sent
    if _TERM.sub("", selector).strip(","):
        raise ValueError("it ends within an escape")
    for term in _TERM.findall(selector):
        parts = _PARTS.fullmatch(term)
        if parts is None or not _VALUE.fullmatch(parts["value"]):
            raise ValueError("it is not of the form field=value")
        operator: Operator = "NotIn" if parts["operator"] == "!=" else "In"
        yield Requirement(parts["field"], operator, (_ESCAPED.sub(r"\1", parts["value"]),))
