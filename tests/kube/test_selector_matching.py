"""What a label selector matches."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.errors import BadRequestError
from metrics_server.kube.labels import Requirement, Selector, parse_selector


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("", {"a": "b"}, True),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a!=b", {}, True),
        ("a!=", {"a": ""}, False),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "c"}, False),
        ("a in (,x)", {"a": ""}, True),
        ("a in (,x)", {}, False),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {"a": ""}, False),
        ("!a", {"A": "b"}, True),
        ("n>5", {"n": "6"}, True),
        ("n>5", {"n": "5"}, False),
        ("n>5", {"n": "10"}, True),
        ("n<5", {"n": "4"}, True),
        ("n<5", {"n": "-1"}, True),
        ("n<5", {"n": "+1"}, True),
        ("n<5", {"n": "004"}, True),
        ("n<5", {}, False),
        ("n<5", {"n": ""}, False),
        ("n<5", {"n": "1_0"}, False),
        ("n<5", {"n": "\u0663"}, False),
        ("n<5", {"n": " 1"}, False),
        ("n>5", {"n": "five"}, False),
        ("n>5", {"n": "9223372036854775807"}, True),
        ("n>5", {"n": "9223372036854775808"}, False),
        ("n>9223372036854775807", {"n": "9223372036854775807"}, False),
        ("a=b,c!=d", {"a": "b", "c": "d"}, False),
        ("a=b,a=c", {"a": "b"}, False),
    ],
)
def test_matching(text: str, labels: Mapping[str, str], *, matches: bool) -> None:
    """Absent, empty and non-integer labels match as in the API."""
    assert parse_selector(text).matches(labels) is matches


KEYS = st.sampled_from(["a", "in", "notin", "x.y/a", "Z-0_z"])
WORDS = st.sampled_from(
    ["", "b", "in", "notin", "v.1", "0", "7", "007", "10", "9223372036854775807"]
)
INTEGERS = st.integers(0, 2**63 - 1).map(str) | st.sampled_from(["0", "7", "007", "10"])
Condition = tuple[str, str, list[str]]
CONDITIONS: st.SearchStrategy[Condition] = (
    st.tuples(KEYS, st.sampled_from(["exists", "!"]), st.just([]))
    | st.tuples(KEYS, st.sampled_from(["=", "==", "!="]), WORDS.map(lambda word: [word]))
    | st.tuples(KEYS, st.sampled_from([">", "<"]), INTEGERS.map(lambda number: [number]))
    | st.tuples(KEYS, st.sampled_from(["in", "notin"]), st.lists(WORDS, min_size=1, max_size=4))
)
LABELS = st.dictionaries(KEYS, WORDS | st.integers(-(2**65), 2**65).map(str), max_size=5)


def _written(key: str, operator: str, values: list[str], space: str) -> str:
    """A condition as a user may write it."""
    if operator == "exists":
        return key
    if operator == "!":
        return f"!{space}{key}"
    if operator in ("in", "notin"):
        # An empty value goes first: at the end it could make an invalid run of commas.
        texts = [value for value in values if value]
        texts = ["", *texts] if "" in values else texts
        return f"{key} {operator}{space}({space}{f'{space},{space}'.join(texts)}{space})"
    return f"{key}{space}{operator}{space}{values[0]}"


def _holds(key: str, operator: str, values: list[str], labels: Mapping[str, str]) -> bool:
    """A condition, evaluated by its definition."""
    if key not in labels:
        return operator in ("!=", "notin", "!")
    value = labels[key]
    if operator in ("=", "==", "in"):
        return any(value == wanted for wanted in values)
    if operator in ("!=", "notin"):
        return all(value != unwanted for unwanted in values)
    if operator in (">", "<"):
        is_integer = re.fullmatch(r"-?\d+", value, re.ASCII) and -(2**63) <= int(value) < 2**63
        lower, higher = (values[0], value) if operator == ">" else (value, values[0])
        return bool(is_integer) and int(lower) < int(higher)
    return operator == "exists"


@given(
    conditions=st.lists(CONDITIONS, max_size=4),
    space=st.sampled_from(["", " ", "\t \n"]),
    labels=LABELS,
)
def test_matches_is_what_the_definitions_say(
    conditions: list[Condition], space: str, labels: Mapping[str, str]
) -> None:
    """A parsed selector agrees with each of its conditions, evaluated one by one."""
    selector = parse_selector(",".join(_written(*condition, space) for condition in conditions))
    assert selector.matches(labels) is all(_holds(*each, labels) for each in conditions)


@given(conditions=st.lists(CONDITIONS, max_size=4), space=st.sampled_from(["", " "]))
def test_the_canonical_form_parses_back(conditions: list[Condition], space: str) -> None:
    """However the same conditions are written, their selectors and canonical texts are equal."""
    selector = parse_selector(",".join(_written(*condition, space) for condition in conditions))
    assert parse_selector(str(selector)) == selector
    shuffled = ",".join(_written(*condition, " ") for condition in reversed(conditions))
    assert str(parse_selector(shuffled)) == str(selector)
    assert hash(parse_selector(shuffled)) == hash(selector)


@given(st.text() | st.text(alphabet="ain!=<>(), \t\x00é/-_.1", max_size=20))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """Any text is rejected or parsed, never an exception, and parsed selectors can be written."""
    try:
        selector = parse_selector(text)
    except BadRequestError:
        return
    assert parse_selector(str(selector)) == selector


def test_a_selector_is_a_value() -> None:
    """Selectors can be built directly, compared and used as keys, also after matching."""
    by_hand = Selector((Requirement("a", "=", ("b",)),))
    assert by_hand.matches({"a": "b"})
    assert by_hand == parse_selector("a = b")
    assert {by_hand: 1}[parse_selector("a==b")] == 1
    assert str(by_hand) == "a=b"
