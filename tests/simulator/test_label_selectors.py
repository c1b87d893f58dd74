"""The simulator's own label selectors, and that the product's agree with them."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_server.errors import BadRequestError
from metrics_server.kube.labels import parse_selector
from metrics_server.simulator.kube.label_selectors import LabelSelector
from metrics_server.simulator.kube.statuses import StatusError


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        (" ! a ", {}, True),
        ("!a", {"a": "1"}, False),
        ("a=b", {"a": "b"}, True),
        ("a == b", {"a": "c"}, False),
        ("a=", {}, False),
        ("a=", {"a": ""}, True),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a in (b,)", {"a": ""}, True),
        ("a in ()", {}, False),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("n>5", {"n": "6"}, True),
        ("n>5", {"n": "5"}, False),
        ("n<5", {"n": "-6"}, True),
        ("n<5", {"n": "five"}, False),
        ("n<5", {}, False),
        ("a=b,c", {"a": "b"}, False),
        ("a=b,c", {"a": "b", "c": "d"}, True),
    ],
)
def test_it_selects_as_documented(text: str, labels: Mapping[str, str], *, matches: bool) -> None:
    """Each operator, with and without the label."""
    assert LabelSelector(text).matches(labels) is matches
    assert LabelSelector(text).everything is (not text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            ",",
            "a,",
            "a b",
            "a===b",
            "a in b",
            "a in (b",
            "a in (b c)",
            "a in (b,,)",
            "a=b=c",
            "=a",
        ),
        *("-a", "a/b/c", "A.b/c", "/a", "a/", "a=b_", "a>b", "a>", "a=é", "é", "!", "!a=b", "n>-1"),
        *(f"{'k' * 64}", f"a={'v' * 64}", f"{'p' * 254}/a", "n>9223372036854775808"),
    ],
)
def test_what_is_malformed_is_a_bad_request(text: str) -> None:
    """It does not select everything."""
    with pytest.raises(StatusError) as raised:
        LabelSelector(text)
    assert raised.value.status.code == 400


KEYS = st.sampled_from(["a", "b", "in", "x.y/a"])
VALUES = st.sampled_from(["", "a", "b", "in", "v.1", "6", "7", "8", "-7", "007", "+7", "9" * 19])
PIECES = KEYS | VALUES | st.sampled_from(["=", "==", "!=", "!", "<", ">", "(", ")", ",", " "])
CONDITIONS = (
    st.tuples(KEYS, st.sampled_from(["=", "==", "!=", ">", "<"]), VALUES).map("".join)
    | st.tuples(st.sampled_from(["", "!", "! "]), KEYS).map("".join)
    | st.tuples(KEYS, st.sampled_from([" in ", " notin "]), st.lists(VALUES, max_size=4)).map(
        lambda parts: f"{parts[0]}{parts[1]}({','.join(parts[2])})"
    )
)
TEXTS = st.lists(PIECES, max_size=12).map("".join) | st.lists(CONDITIONS, max_size=2).map(",".join)


@given(TEXTS, st.dictionaries(KEYS, VALUES, max_size=4))
@example("a in (,,)", {})
@example("a in (b,,)", {})
@example("a>7", {"a": "7"})
@example("a<7", {"a": "7"})
@example("a<7", {"a": "+6"})
def test_the_product_reads_them_alike(text: str, labels: Mapping[str, str]) -> None:
    """Two implementations of one specification: both reject a text, or both select the same."""
    try:
        expected = parse_selector(text)
    except BadRequestError:
        with pytest.raises(StatusError):
            LabelSelector(text)
        return
    assert LabelSelector(text).matches(labels) is expected.matches(labels)


@given(st.text() | st.text(alphabet="ain!=<>(), \t\x00é/-_.1", max_size=20))
def test_any_text_is_read_or_refused_as_the_product_does(text: str) -> None:
    """Whatever it is."""
    if re.search(r"[\ud800-\udfff]", text):
        return
    refused = False
    try:
        parse_selector(text)
    except BadRequestError:
        refused = True
    try:
        LabelSelector(text)
    except StatusError:
        assert refused
    else:
        assert not refused
