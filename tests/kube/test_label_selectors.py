"""Selectors in objects mean the same as those in requests."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.errors import BadRequestError
from metrics_server.kube.label_selectors import LabelSelector, joined, label_selector_of
from metrics_server.kube.labels import (
    MAX_REQUIREMENTS,
    Operator,
    Requirement,
    Selector,
    parse_selector,
)
from metrics_server.simulator.kube import label_selectors

KEYS = st.sampled_from(["app", "tier", "team.example.com/name"])
VALUES = st.sampled_from(["", "a", "b", "blue-1"])
OPERATORS: st.SearchStrategy[Operator] = st.sampled_from(("=", "!=", "in", "notin", "exists", "!"))
LABELS = st.dictionaries(KEYS, VALUES)


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    """A requirement that an object's selector can express."""
    key, operator = draw(KEYS), draw(OPERATORS)
    if operator in ("exists", "!"):
        return Requirement(key, operator)
    values = draw(st.sets(VALUES, min_size=1, max_size=1 if "=" in operator else 3))
    return Requirement(key, operator, tuple(sorted(values)))


SELECTORS = st.sets(requirements(), max_size=4).map(lambda found: Selector(tuple(sorted(found))))


@given(selector=SELECTORS, labels=LABELS)
def test_both_forms_match_the_same_pods(selector: Selector, labels: dict[str, str]) -> None:
    """Encoded to an object's form and back, over JSON, a selector matches the same."""
    text = msgspec.json.encode(label_selector_of(selector))
    again = msgspec.json.decode(text, type=LabelSelector).parsed()
    assert again.matches(labels) == selector.matches(labels)


@given(one=SELECTORS, other=SELECTORS, labels=LABELS)
def test_joined_selectors_match_what_each_of_them_matches(
    one: Selector, other: Selector, labels: dict[str, str]
) -> None:
    """Joined selectors match nothing else, and their order does not matter."""
    both = one.matches(labels) and other.matches(labels)
    assert joined(one, other).matches(labels) == both
    assert joined(one, other) == joined(other, one, Selector())


@given(selector=SELECTORS, labels=LABELS)
def test_the_simulator_reads_the_text_alike(selector: Selector, labels: dict[str, str]) -> None:
    """The simulator has its own parser, so that no misreading cancels out."""
    assert label_selectors.LabelSelector(str(selector)).matches(labels) == selector.matches(labels)


def test_an_empty_selector_matches_everything() -> None:
    """An empty selector matches everything, as documented for metav1.LabelSelector."""
    for text in ("{}", '{"matchLabels":null,"matchExpressions":[]}'):
        assert msgspec.json.decode(text, type=LabelSelector).parsed() == Selector()
    assert joined() == Selector()


@pytest.mark.parametrize(
    "text",
    [
        '{"matchExpressions":[{"key":"a","operator":"Near"}]}',
        '{"matchLabels":["a"]}',
        '{"matchExpressions":[{"operator":"In"}]}',
    ],
)
def test_what_is_not_a_selector_is_an_error(text: str) -> None:
    """An invalid selector never matches everything instead."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=LabelSelector)


def test_numbers_are_not_compared() -> None:
    """An object's selector has no operators for it."""
    with pytest.raises(BadRequestError, match=r"rank>1 is not allowed"):
        label_selector_of(parse_selector("rank>1"))


def test_the_requirements_are_limited_together() -> None:
    """The limit is on all of them, as each is checked for every pod."""
    many = [Selector((Requirement(f"a{n}", "exists"),)) for n in range(MAX_REQUIREMENTS + 1)]
    assert len(joined(*many[1:]).requirements) == MAX_REQUIREMENTS
    with pytest.raises(BadRequestError, match="more than 64 requirements together"):
        joined(*many)
