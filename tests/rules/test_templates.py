"""PromQL queries with placeholders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.rules.model import Query
from metrics_server.rules.templates import PLACEHOLDERS, filled, marked, parse, placeholders


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("up", ("up",)),
        ("sum(a{<<.LabelMatchers>>})", ("sum(a{", "LabelMatchers", "})")),
        (
            "a{namespace=<<.Namespace>>, pod=~<< .Pods >>}",
            ("a{namespace=", "Namespace", ", pod=~", "Pods", "}"),
        ),
        ("sum by (<<.GroupBy>>) (a)", ("sum by (", "GroupBy", ") (a)")),
        ('a{b="}{(", c=\'"\', d=`\\`}', ('a{b="}{(", c=\'"\', d=`\\`}',)),
        ("a # a comment {\n + b", ("a \n + b",)),
        ("a <<.Pods", ("a <<.Pods",)),
    ],
)
def test_a_query_is_read(text: str, parts: tuple[str, ...]) -> None:
    """Strings and brackets are kept; a comment, which could hide the rest, is removed."""
    assert parse(text) == parts
    assert placeholders(parts) <= set(PLACEHOLDERS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  ", "is empty"),
        ("x" * 4001, "must have at most 4000 characters"),
        ('a{namespace="<<.Namespace>>"}', "has a placeholder in quotes: write it without them"),
        ("a{pod=~'<<.Pods>>|x'}", "has a placeholder in quotes"),
        ("sum(<<.Series>>{a='b'})", "<<.Series>> is not a placeholder here: write the name of the"),
        ("a{<<.Whatever>>}", "use <<.Namespace>>, <<.Pods>>, <<.LabelMatchers>>"),
        ("<<if .Pods>>", "is not a placeholder here"),
        ("sum(a", ") is missing at the end"),
        ("sum(a}", "} has no opening bracket"),
        ('a{b="c}', 'a string that begins with " has no end'),
        ('a{b="c\n"}', 'a string that begins with " has no end'),
    ],
)
def test_a_query_that_cannot_be_one(text: str, message: str) -> None:
    """The message says what to write."""
    with pytest.raises(ValueError, match=r".") as raised:
        parse(text)
    assert message in str(raised.value)


@given(
    st.lists(
        st.sampled_from(["a", "{", "}", "(", ")", '"', "'", "`", "\\", "\n", "#", "<<.Pods>>", " "])
    )
)
def test_a_placeholder_is_never_in_a_string(pieces: list[str]) -> None:
    """In any context, each part of a query has complete strings, or the query is rejected."""
    try:
        parts = parse("".join(pieces))
    except ValueError:
        return
    for part in parts[::2]:
        assert parse(
            f"x {part}".replace("(", " ").replace("{", " ").replace(")", " ").replace("}", " ")
        )
    assert Query(parts).text.count("<<.Pods>>") == len(parts) // 2


VALUES = st.text() | st.sampled_from(['"<<.Pods>>"', 'namespace="<<.LabelMatchers>>"', "\\1"])


@given(
    st.lists(
        st.sampled_from(
            ["a", "namespace=", '"b"', "<<.Namespace>>", "<<.Pods>>", "<<.LabelMatchers>>"]
        ),
        min_size=1,
    ),
    st.fixed_dictionaries(dict.fromkeys(("Namespace", "Pods", "LabelMatchers"), VALUES)),
)
def test_each_placeholder_has_its_value(pieces: list[str], values: dict[str, str]) -> None:
    """Whatever a value is, and whatever is around it: a mark is taken for nothing else."""
    parts = parse("".join(pieces))
    expected = "".join(values[part] if at % 2 else part for at, part in enumerate(parts))
    assert filled(marked(parts, "pod"), values) == expected
