"""The series that an expression reads, compared with a real Prometheus."""

import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metrics_server.rules.expressions import Expression, read
from tests.support.prometheus import Prometheus, running
from tests.support.stored import Sample, open_metrics

pytestmark = pytest.mark.slow

# Each is also the name of a series.
WORDS = (
    *("up", "a:b", "sum", "topk", "count_values", "by", "without", "on", "ignoring", "bool"),
    *("group_left", "group_right", "offset", "and", "or", "unless", "atan2", "start", "end"),
    *("inf", "nan", "rate", "abs", "time", "scalar", "label_replace", "AND", "By", "e1", "x5m"),
)
# Long before any sample. Steps of subqueries and remainders are the same then.
EARLIER_SECONDS = 31 * 86_400
# They are never names in an expression.
RESERVED = ("inf", "nan", "atan2", "on", "ignoring", "bool", "group_left", "group_right")
# No series has this label, so a query with it in all selectors reads no sample.
MARK = "mark"
MARKED = f'{{{MARK}="1"}}'


class Asked:
    """Evaluates queries in order, on one connection."""

    def __init__(self, url: str, now: float) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
        self._now = now

    def samples(self, query: str) -> int | None:
        """The number of samples that a query reads; None if it is invalid.

        Prometheus also counts those that a subquery makes itself, even without any series.
        """
        present, earlier = (self._count(query, ago) for ago in (0, EARLIER_SECONDS))
        return None if present is None or earlier is None else present - earlier

    def _count(self, query: str, ago: float) -> int | None:
        self._connection.request(
            "POST",
            "/api/v1/query",
            urlencode({"query": query, "stats": "all", "time": f"{self._now - ago:.3f}"}),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        answer = json.loads(self._connection.getresponse().read())
        if answer["status"] != "success":
            return None
        return int(answer["data"]["stats"]["samples"]["totalQueryableSamples"])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """A client of a real Prometheus."""
    at = time.time()
    samples = [Sample(word, 1, at, {}) for word in WORDS]
    folder = tmp_path_factory.mktemp("prometheus")
    with running(Prometheus(folder, samples=open_metrics(samples))) as one:
        asked = Asked(one.url, at)
        yield asked
        asked.close()


LABELS = st.lists(st.sampled_from(["pod", "le", "by", "sum", "a"]), max_size=3).map(", ".join)
BLANKS = st.sampled_from(["", " ", "\n", "\t", " # up }\n"])
MATCHERS = st.sampled_from(["", 'a="}"', "a!~'{|\"'", "b=`\\`", 'by=~"\\"#"']).map(
    lambda matcher: f"{{{matcher}{',' if matcher else ''} {MARK}='1'}}"
)
METRICS = st.sampled_from([word for word in WORDS if word not in RESERVED])
SELECTORS = st.builds("{}{}".format, METRICS, MATCHERS) | MATCHERS
NUMBERS = st.sampled_from(["1", "0x1F", "1e3", "2.5E-1", ".5", "3.", "Inf", "NaN", "-1", "+inf"])
RANGES = st.sampled_from(["[5m]", "[ 1h30m ]", "[1w]"])
SUBQUERIES = st.sampled_from(["[10m:]", "[5m:1m]", "[ 1m : 30s ]"])
OVER = st.sampled_from(["max_over_time", "last_over_time", "count_over_time"])


def vectors(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Valid expressions for vectors, around others."""
    clause = st.builds("{}{}({})".format, st.sampled_from(["by", "WITHOUT", "by "]), BLANKS, LABELS)
    aggregation = st.sampled_from(["sum", "AVG", "max", "group"])
    arithmetic = st.sampled_from(
        ["+", "-", "*", "/", "%", "^", "atan2", "== bool", ">", "<= BOOL "]
    )
    matching = st.builds("{} ({})".format, st.sampled_from(["on", "ignoring"]), LABELS)
    joining = st.sampled_from(["", " group_left", " group_right ()", " GROUP_LEFT(pod, x)"])
    sets = st.sampled_from(["and", "or", "UNLESS"])
    return st.one_of(
        st.builds(
            "{}{}({}{})".format, st.sampled_from(["abs", "sort", "-", ""]), BLANKS, inner, BLANKS
        ),
        st.builds("{}({}) {}".format, aggregation, inner, clause),
        st.builds("{} {}{}({})".format, aggregation, clause, BLANKS, inner),
        st.builds("topk({}, {})".format, NUMBERS, inner),
        st.builds('count_values {} ("up", {})'.format, clause, inner),
        st.builds("({} {} {}{} {})".format, inner, arithmetic, matching, joining, inner),
        st.builds("({}{} {} {})".format, inner, BLANKS, sets, inner),
        st.builds("{} * {}".format, NUMBERS, inner),
        st.builds("{} > scalar({})".format, inner, inner),
        st.builds("{}(({}){})".format, OVER, inner, SUBQUERIES),
        st.builds("label_replace({}, 'up', `$1`, \"by\", '(.*)')".format, inner),
        st.builds("{} or vector(time())".format, inner),
    )


RANGED = st.builds("{}({}{}{})".format, OVER, SELECTORS | METRICS, BLANKS, RANGES | SUBQUERIES)
VALID = st.recursive(SELECTORS | RANGED, vectors, max_leaves=6)
PIECES = (
    st.sampled_from(WORDS)
    | st.sampled_from(
        [
            MARKED,
            "(",
            ")",
            "()",
            ",",
            "+",
            "-",
            "==",
            "[5m]",
            "[5m:]",
            "@ 1",
            "offset 5m",
            "1",
            "0x",
        ]
    )
    | st.sampled_from(["1e", "5m", '"s"', "`{up}`", "#up\n", " ", " by (a)", "{}", "up "])
)


def read_if_possible(text: str) -> Expression | None:
    """The series that an expression reads; None if it is rejected."""
    try:
        return read(text)
    except ValueError:
        return None


def is_marked(expression: Expression) -> bool:
    """Whether no selector can match a series."""
    return all(MARK in one.text for one in expression.selectors)


@given(VALID)
@example("sum{mark='1'} + by{mark='1'} or or{mark='1'}")
def test_valid_expressions_are_read(ask: Asked, text: str) -> None:
    """Any valid expression is accepted, unless its samples cannot be checked."""
    if ask.samples(text) is not None:
        assert read(text).selectors


@settings(max_examples=400)
@given(VALID, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 6), PIECES), max_size=3))
@example(f"up{MARKED}", [(99, 0, " + up")])
@example(f"up{MARKED}", [(99, 0, " or "), (99, 0, "inf")])
@example(f"up{MARKED}", [(99, 0, " * on (a) group_left (up)")])
def test_nothing_is_read_that_is_not_found(
    ask: Asked, text: str, changes: list[tuple[int, int, str]]
) -> None:
    """If any text is accepted by both, its selectors are exactly those found."""
    for at, length, piece in changes:
        text = text[:at] + piece + text[at + length :]
    found = read_if_possible(text)
    if found is not None and is_marked(found):
        assert not ask.samples(text)


@given(st.lists(PIECES, max_size=8))
def test_any_pieces(ask: Asked, pieces: list[str]) -> None:
    """The same holds for pieces that make no sense."""
    text = f"up{MARKED} {''.join(pieces)}"
    found = read_if_possible(text)
    if found is not None and is_marked(found):
        assert not ask.samples(text)


def test_a_bare_name_is_read_by_prometheus(ask: Asked) -> None:
    """Otherwise the tests above would not notice a missed one."""
    for word in WORDS:
        if word not in RESERVED:
            assert ask.samples(f"up{MARKED} or {word}") == 1, word
        assert read_if_possible(f"up{MARKED} or {word}") is None or word in {"inf", "nan"}
