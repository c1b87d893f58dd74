"""No text changes the meaning of a query: a real Prometheus evaluates the result."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct

from metrics_server.sources.prometheus.promql import (
    alternatives,
    equal,
    is_label_name,
    is_metric_name,
    one_of,
    quoted,
)
from tests.support.prometheus import Prometheus


class Asked:
    """Evaluates queries in order, on one connection."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=30)

    def __call__(self, query: str) -> object:
        """The result of a query."""
        self._connection.request(
            "POST",
            "/api/v1/query",
            urlencode({"query": query}),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        answer = json.loads(self._connection.getresponse().read())
        assert answer["status"] == "success", f"{query}\n{answer}"
        return answer["data"]["result"]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def text(self, query: str) -> str:
        """The value of a query that returns a string."""
        return msgspec.convert(self(query), tuple[float, str])[1]

    def labels(self, query: str) -> list[dict[str, str]]:
        """The labels of each series returned by a query."""
        return [one.metric for one in msgspec.convert(self(query), list[_Series])]


class _Series(Struct):
    metric: dict[str, str]


@pytest.fixture(scope="module")
def ask(prometheus: Prometheus) -> Iterator[Asked]:
    """A client of a real Prometheus."""
    asked = Asked(prometheus.url)
    yield asked
    asked.close()


# Characters with a meaning in PromQL, regular expressions or templates are more likely.
TEXTS = st.text(
    st.one_of(
        st.sampled_from(
            "\"'`\\\n\r\t\0\a{}[]()=~!,|.*+?^$-#/&%<>:;@ \x7f\x85\u2028\ufffd\ufeff\u202e"
        ),
        st.sampled_from("nrtuUx0aQE"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=16,
)


@given(text=TEXTS)
@example(text='"} or vector(1) or x{a="')
@example(text="\\")
@example(text="\ufffd")
@example(text="\U0010ffff")
def test_a_string_is_read_back_as_it_was(ask: Asked, text: str) -> None:
    """A quoted text is one PromQL string, and its value is the text."""
    assert ask.text(quoted(text)) == text


@given(value=TEXTS, other=TEXTS)
def test_a_matcher_stays_a_matcher(ask: Asked, value: str, other: str) -> None:
    """`absent` returns the labels of its equality matchers: exactly these."""
    query = f"absent(nothing{{{equal('a', value)},{equal('b', other)}}})"
    expected = {name: text for name, text in (("a", value), ("b", other)) if text}
    assert ask.labels(query) == [expected]


@given(values=st.lists(TEXTS, min_size=1, max_size=6), other=TEXTS)
@example(values=["a.c"], other="abc")
@example(values=["a", "b"], other="ab")
@example(values=["a|b"], other="a")
@example(values=["a\nb", "x"], other="x\n")
@example(values=["$1", "x"], other="")
def test_alternatives_match_their_values_and_nothing_else(
    ask: Asked, values: list[str], other: str
) -> None:
    """The regular expression matches each of the texts as a whole, and no other text."""
    expression = quoted(alternatives(values))
    for value in dict.fromkeys([*values, other]):
        # A label with this value, if it can have it.
        series = f"absent(nothing{{{equal('a', value)}}})"
        matched = ask.labels(f'label_replace({series}, "hit", "yes", "a", {expression})')
        assert ("hit" in matched[0]) == (value in values), value


@given(values=st.lists(TEXTS, min_size=1, max_size=6))
def test_one_of_can_be_parsed(ask: Asked, values: list[str]) -> None:
    """Prometheus accepts the matcher, together with others."""
    query = f"absent(nothing{{{one_of('a', values)},{equal('b', 'mark')}}})"
    (labels,) = ask.labels(query)
    assert labels["b"] == "mark"
    assert labels.keys() <= {"a", "b"}


def test_how_they_are_written() -> None:
    """Plain names stay readable."""
    assert quoted("inference-7d4b9") == '"inference-7d4b9"'
    assert quoted('a"\\\n\u00e9') == '"a\\"\\\\\\u000a\\u00e9"'
    assert equal("pod", "a") == 'pod="a"'
    assert one_of("pod", ["a-1", "b.c", "a-1"]) == 'pod=~"a-1|b\\\\.c"'
    assert one_of("pod", ["a-1", "a-1"]) == 'pod="a-1"'


def test_what_cannot_be_written() -> None:
    """An error is raised: a query never selects more than it should."""
    with pytest.raises(ValueError, match="no values"):
        one_of("pod", [])
    with pytest.raises(ValueError, match="surrogate"):
        quoted("\ud800")
    for label in ("", "a-b", "1a", 'a="b",c', "a\n", "ä"):
        with pytest.raises(ValueError, match="not the name of a label"):
            equal(label, "x")
        with pytest.raises(ValueError, match="not the name of a label"):
            one_of(label, ["x", "y"])


def test_what_is_no_name() -> None:
    """A text with a valid name in it is not one."""
    for name in ("", "1a", "a-b", "a b", "a\n", "a{", "a:b-c", "ä"):
        assert not is_label_name(name)
        assert not is_metric_name(name)
    assert (is_metric_name("a:b"), is_label_name("a:b")) == (True, False)


@given(name=st.one_of(st.from_regex(r"\A[a-zA-Z_:0-9-]{1,6}\Z"), TEXTS))
@example(name="DCGM_FI_DEV_GPU_UTIL")
@example(name="vllm:num_requests_waiting")
@example(name="a\n")
def test_names(ask: Asked, name: str) -> None:
    """A label's or metric's name is also one to Prometheus."""
    if is_label_name(name):
        assert ask.labels(f'absent(nothing{{{name}="x"}})') == [{name: "x"}]
    # Keywords can be metrics only where they have no other meaning.
    if is_metric_name(name) and ":" in name:
        assert ask.labels(name) == []
