"""A series selector on pods' own pages: rows that do not match count as absent."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.errors import AmbiguousSeriesError, NoSeriesMatchesError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.series_selectors import split
from metrics_server.rules.model import Aggregation, MetricRule, Reading
from metrics_server.rules.series import SeriesMatcher
from metrics_server.sources.pods.history import History
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.rows import Excluded, NoValue, Unlabelled
from metrics_server.sources.unmatched import gap_of_series
from tests.support.pod_pages import value_by

GAUGE = MetricRule(
    "queue",
    "",
    "",
    (Reading("new", 0, 100), Reading("old", 0, 100, copies=("pid",), zero_beside=("up",))),
    100,
    measures="pods",
    sources=("pods",),
)
RATE = structs.replace(GAUGE, readings=(Reading("c", 0, 100, rate=True),))
QUANTILE = structs.replace(GAUGE, readings=(Reading("h", 0, 100, quantile=0.5),))


def matcher(selector: str) -> SeriesMatcher:
    """A matcher for an HPA's selector."""
    return SeriesMatcher(split(parse_selector(selector))[1])


def value(page: str, selector: str = "", rule: MetricRule = GAUGE) -> object:
    """The value of a page."""
    of = matcher(selector) if selector else None
    return value_by(PodPage("u", page.encode(), 0), rule, History(), of)


LABELS = st.fixed_dictionaries(
    {},
    optional={
        "m": st.sampled_from(["a", "b", "", "x/y"]),
        "n": st.sampled_from(["1", "2"]),
        "pid": st.sampled_from(["7", "8"]),
    },
)
VALUES = st.sampled_from(["1", "2.5", "40", "101", "NaN", "-1"])
ROWS = st.lists(st.tuples(st.sampled_from(["new", "old", "other"]), LABELS, VALUES), max_size=8)
SELECTORS = st.sampled_from(
    [
        "series/m=a",
        "series/m!=a",
        "series/m in (a,x_y)",
        "series/m notin (b)",
        "series/m",
        "!series/m",
        "series/m=a,series/n=1",
        "series/n!=2,series/m=x_y",
    ]
)


def text(rows: list[tuple[str, dict[str, str], str]]) -> str:
    """A page with these rows."""
    return "".join(
        "{}{{{}}} {}\n".format(name, ",".join(f'{k}="{v}"' for k, v in labels.items()), number)
        for name, labels, number in rows
    )


@given(ROWS, SELECTORS, st.sampled_from(["sum", "avg", "max", "min"]), st.randoms(), st.booleans())
def test_as_if_the_others_were_not_there(
    rows: list[tuple[str, dict[str, str], str]],
    selector: str,
    over: Aggregation,
    order: random.Random,
    up: bool,  # noqa: FBT001
) -> None:
    """The value is that of the page without them, whatever the order of its rows.

    If no row matches, there is no number, unless absent rows mean 0.
    """
    rule = structs.replace(GAUGE, over_series=over)
    kept = [one for one in rows if one[0] == "other" or matcher(selector).matches(one[1])]
    shows = "up 1\n" * up
    expected = value(shows + text(kept), rule=rule)
    order.shuffle(rows)
    found = value(shows + text(rows), selector, rule)
    if isinstance(found, Unlabelled):
        # No row of the family has the label, which the page without them cannot show.
        assert expected == 0.0 or isinstance(expected, NoValue)
        _, _, _, family, *_, label = found.why.replace(",", "").split()
        assert not any(labels.get(label) for name, labels, _ in rows if name == family)
    elif isinstance(expected, NoValue):
        assert isinstance(found, NoValue | Excluded)
    else:
        assert found == expected


def test_a_row_that_does_not_match_need_not_be_believed() -> None:
    """A NaN in a row that does not match does not matter; one in a matching row does."""
    page = 'new{m="a"} 3\nnew{m="b"} NaN\n'
    assert value(page, "series/m=a") == 3
    broken = value(page, "series/m=b")
    assert isinstance(broken, NoValue)
    assert "out of range: nan" in broken.why
    assert isinstance(value(page), NoValue)


def test_no_row_matches() -> None:
    """A pod with only other rows is excluded; a page without the label has no value."""
    page = 'new{m="b"} 3\n'
    assert isinstance(value(page, "series/m=a"), Excluded)
    assert value(page, "series/k=a") == Unlabelled("has rows of new, but none with the label k")
    assert isinstance(value("", "series/m=a"), NoValue)
    # A label that only numbers copies of one row cannot select.
    assert isinstance(value('old{pid="7",m="a"} 1\n', "series/pid=7"), Unlabelled)


def test_an_absence_that_means_0() -> None:
    """A gateway has no row for a model without requests; but it must be known to name models."""
    idle = "up 1\n"
    assert value(idle, "series/m=a") == 0
    assert value(idle + 'old{m="b"} 3\n', "series/m=a") == 0
    assert value(idle + 'new{m="b"} 3\nold{k="b"} 3\n', "series/m=a") == 0
    assert isinstance(value(idle + 'old{k="b"} 3\n', "series/m=a"), Unlabelled)


def test_values_with_one_form() -> None:
    """Such values are never added up."""
    page = 'new{m="x/y"} 3\nnew{m="x_y"} 4\n'
    with pytest.raises(AmbiguousSeriesError):
        value(page, "series/m=x_y")
    assert value(page) == 7


def counters(a: int, b: int) -> bytes:
    """A page with two counters."""
    return f'c{{m="a"}} {a}\nc{{m="b"}} {b}\n'.encode()


def test_rates() -> None:
    """All selectors use the same earlier scrapes, so none takes memory or starts over."""
    history = History()
    assert isinstance(value_by(PodPage("u", counters(0, 0), 10), RATE, history), NoValue)
    bytes_taken = history.bytes
    page = PodPage("u", counters(20, 60), 20)
    assert value_by(page, RATE, history, matcher("series/m=a")) == 2
    assert value_by(page, RATE, history, matcher("series/m!=a")) == 6
    for number in range(50):
        assert isinstance(value_by(page, RATE, history, matcher(f"series/m={number}")), Excluded)
    assert value_by(page, RATE, history) == 8
    assert len(history) == 1
    assert history.bytes < 2 * bytes_taken


def test_a_rate_after_a_later_scrape() -> None:
    """A page older than the newest recorded one has rows that no longer exist."""
    history = History()
    old = PodPage("u", counters(0, 0), 10)
    for at, body in ((5, counters(0, 0)), (20, b'c{m="b"} 60\n')):
        value_by(PodPage("u", body, at), RATE, history)
    assert isinstance(value_by(old, RATE, history, matcher("series/m=a")), NoValue)


def buckets(model: str, low: int, high: int) -> str:
    """One model's histogram."""
    return f'h_bucket{{m="{model}",le="1"}} {low}\nh_bucket{{m="{model}",le="+Inf"}} {high}\n'


def test_quantiles() -> None:
    """A selector selects one model's requests."""
    history = History()
    first, page = (
        PodPage("u", (buckets("a", low, high) + buckets("b", 0, high)).encode(), at)
        for at, low, high in ((10, 0, 0), (20, 90, 100))
    )
    value_by(first, QUANTILE, history)
    assert value_by(page, QUANTILE, history, matcher("series/m=a")) == pytest.approx(50 / 90)
    assert value_by(page, QUANTILE, history, matcher("series/m=b")) == 1
    # A bucket's bound is not a label of the histogram.
    assert isinstance(value_by(page, QUANTILE, history, matcher("series/le=1")), Unlabelled)


def test_too_many_rows_to_search() -> None:
    """A question takes no longer than others can wait."""
    page = "".join(f'new{{m="{number}"}} 0\n' for number in range(5001))
    assert value(page) == 0
    none = value(page, "series/m=1")
    assert isinstance(none, NoValue)
    assert "at most 5000 can be searched" in none.why


def test_too_many_labels_to_search() -> None:
    """The same holds for many labels in a selector and on rows, and for the error."""
    labels = ",".join(f'l{number}="a/b"' for number in range(64))
    page = "".join(f'new{{{labels},m="{number}"}} 0\n' for number in range(1000))
    assert value(page, "series/l1!=a,series/l2!=a") == 0
    none = value(page, ",".join(f"series/l{number}!=a" for number in range(64)))
    assert isinstance(none, NoValue)
    assert "select by fewer labels" in none.why
    selector = matcher(",".join(f"series/l{number}=a" for number in range(64))).selector
    rows = iter([{f"l{number}": "b" for number in range(64)}] * 5000)
    with pytest.raises(NoSeriesMatchesError, match="value of l0 is"):
        gap_of_series(selector, "no row", rows, is_all=True)
    assert len(list(rows)) > 4000
