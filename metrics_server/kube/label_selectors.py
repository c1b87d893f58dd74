"""The selectors inside objects: metav1.LabelSelector, as in a Deployment's spec."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from metrics_server.errors import BadRequestError
from metrics_server.kube.labels import MAX_REQUIREMENTS, Operator, Requirement, Selector

_Relation = Literal["In", "NotIn", "Exists", "DoesNotExist"]
_OPERATORS: Mapping[_Relation, Operator] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
}
_RELATIONS: Mapping[Operator, _Relation] = {
    "!=": "NotIn",
    **{operator: relation for relation, operator in _OPERATORS.items()},
}


class LabelSelectorRequirement(Struct, frozen=True, omit_defaults=True):
    """metav1.LabelSelectorRequirement."""

    key: str
    operator: _Relation
    values: tuple[str, ...] | None = None


class LabelSelector(Struct, frozen=True, rename="camel", omit_defaults=True):
    """metav1.LabelSelector: all its parts must be met; without any, it matches everything."""

    match_labels: Mapping[str, str] | None = None
    match_expressions: tuple[LabelSelectorRequirement, ...] | None = None

    def parsed(self) -> Selector:
        """The same as a `Selector`."""
        requirements = {
            *(Requirement(key, "=", (value,)) for key, value in (self.match_labels or {}).items()),
            *(
                Requirement(one.key, _OPERATORS[one.operator], tuple(sorted(set(one.values or ()))))
                for one in self.match_expressions or ()
            ),
        }
        return Selector(tuple(sorted(requirements)))


def label_selector_of(selector: Selector) -> LabelSelector:
    """Return a selector in the form of an object's.

    Raises:
        BadRequestError: it compares numbers, which this form cannot express.
    """
    labels: dict[str, str] = {}
    expressions: list[LabelSelectorRequirement] = []
    for one in selector.requirements:
        if one.operator == "=" and one.key not in labels:
            labels[one.key] = one.values[0]
            continue
        relation = "In" if one.operator == "=" else _RELATIONS.get(one.operator)
        if relation is None:
            raise BadRequestError(
                f"metricLabelSelector: {one} is not allowed: an HPA's selector has no > or <"
            )
        expressions.append(LabelSelectorRequirement(one.key, relation, one.values or None))
    return LabelSelector(labels or None, tuple(expressions) or None)


def joined(*selectors: Selector) -> Selector:
    """Return the selector that matches what all of these match.

    Raises:
        BadRequestError: together they have more than `MAX_REQUIREMENTS`.
    """
    several = [one for one in selectors if one.requirements]
    if len(several) <= 1:
        return several[0] if several else Selector()
    requirements = {requirement for one in several for requirement in one.requirements}
    if len(requirements) > MAX_REQUIREMENTS:
        raise BadRequestError(
            f"the selectors have more than {MAX_REQUIREMENTS} requirements together: select by "
            "fewer labels"
        )
    return Selector(tuple(sorted(requirements)))
