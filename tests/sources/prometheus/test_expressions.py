"""The selectors within an expression."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.sources.prometheus.expressions import newest, selectors
from metrics_server.sources.prometheus.promql import equal


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1", ()),
        ("sum(rate(a[2m]))", ()),
        ('a{b="c"}', ('a{b="c"}',)),
        ('sum by (le) (rate(a:b_bucket{x=~"y.*"}[5m]))', ('a:b_bucket{x=~"y.*"}',)),
        ('a{b="}"} / a {b="}"} or {c=\'{\'}', ('a{b="}"}', "{c='{'}")),
        ('"a{}" == b{c=`"`}', ('b{c=`"`}',)),
        ('x{a="\\"}"} unless on (pod) y{}', ('x{a="\\"}"}', "y{}")),
    ],
)
def test_selectors(expression: str, expected: tuple[str, ...]) -> None:
    """Each once; braces in strings are not braces."""
    assert selectors(expression) == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), max_size=3))
def test_any_values(values: list[str]) -> None:
    """Whatever is in a matcher, the selector is found as it is."""
    written = [f"m{{{equal('a', value)}}}" for value in dict.fromkeys(values)]
    assert selectors(f"sum({' + '.join(written)})") == tuple(written)


def test_many_selectors_are_cut() -> None:
    """A query about them is of a bounded length."""
    assert newest(" + ".join(f"m{number}{{}}" for number in range(99)), "pod").count("max") == 10
    assert newest("vector(1)", None) == ""
