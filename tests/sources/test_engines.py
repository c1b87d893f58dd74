"""The golden table of engines: each page's values, worked out by hand."""

import random
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, convert, structs

from metrics_server.kube.labels import parse_selector
from metrics_server.kube.series_selectors import split
from metrics_server.rules.engines.registry import ENGINES
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.rules.series import SeriesMatcher
from metrics_server.rules.serving import SERVING
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.rows import Excluded, NoValue
from tests.support.documents import load
from tests.support.pod_pages import value_by

DATA = Path(__file__).parents[1] / "data"
PAGES = {path.stem: path.read_bytes() for path in (DATA / "engines").glob("*.prom")}
RULES = {rule.name: rule for rule in SERVING}


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """A value, or text from the reason why there is none."""

    why: str
    value: float | None = None
    none: str = ""


class GoldenPage(Struct, frozen=True, forbid_unknown_fields=True):
    """A page, and its value for each metric."""

    page: str
    values: dict[str, Row]


TABLE = convert(load((DATA / "golden-engines.yaml").read_text("utf-8")), list[GoldenPage])
ROWS = [(page.page, metric, row) for page in TABLE for metric, row in page.values.items()]


def check(body: bytes, metric: str, row: Row) -> None:
    """Check a row of the table."""
    name, _, selector = metric.partition(" ")
    matcher = SeriesMatcher(split(parse_selector(selector))[1]) if selector else None
    page = PodPage("http://10.0.0.1:8000/metrics", body, 0)
    found = value_by(page, RULES[name], matcher=matcher)
    if row.none == "excluded":
        assert isinstance(found, Excluded)
    elif row.value is None:
        assert isinstance(found, NoValue)
        assert row.none in found.why
    else:
        assert found == pytest.approx(row.value, rel=1e-12)


def test_the_table_has_every_page() -> None:
    """It has more than forty rows, each with its derivation."""
    assert {page.page for page in TABLE} == PAGES.keys()
    assert len(ROWS) > 40
    assert all(bool(row.none) == (row.value is None) and row.why for _, _, row in ROWS)


@pytest.mark.parametrize(("page", "metric", "row"), ROWS, ids=[f"{p}-{m}" for p, m, _ in ROWS])
def test_golden(page: str, metric: str, row: Row) -> None:
    """The value is that of the table."""
    check(PAGES[page], metric, row)


@given(st.sampled_from(ROWS), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    golden: tuple[str, str, Row], order: random.Random
) -> None:
    """A page's lines in any order have the same values."""
    page, metric, row = golden
    lines = PAGES[page].splitlines(keepends=True)
    order.shuffle(lines)
    check(b"".join(lines), metric, row)


@given(st.data())
def test_a_page_that_ends_early_gives_no_other_number(data: st.DataObject) -> None:
    """A sum has no value or fewer rows, never a misread one."""
    sums = [
        one
        for one in ROWS
        if one[2].value and one[1] in RULES and RULES[one[1]].over_series == "sum"
    ]
    page, metric, row = data.draw(st.sampled_from(sums))
    body = PAGES[page]
    truncated = body[: data.draw(st.integers(0, len(body)))]
    found = value_by(PodPage("u", truncated, 0), RULES[metric])
    assert isinstance(found, NoValue) or (isinstance(found, float) and found <= (row.value or 0))


@given(st.binary(max_size=400), st.sampled_from(sorted(PAGES)), st.integers(0, 4000))
def test_any_bytes_are_a_value_or_a_reason(noise: bytes, page: str, at: int) -> None:
    """Noise in a page affects only its own rows, and raises nothing."""
    body = PAGES[page][:at] + noise + PAGES[page][at:]
    for rule in SERVING:
        found = value_by(PodPage("u", body, 0), rule)
        assert isinstance(found, NoValue) or (isinstance(found, float) and 0 <= found < inf)


def test_readings_are_of_pods_pages() -> None:
    """Every metric can be read from some engine, and every engine's metric is in the catalogue."""
    for rule in SERVING:
        assert rule.readings
        assert (rule.measures, rule.sources) == ("pods", ("pods",))
    assert {metric for engine in ENGINES for metric in engine.metrics} <= RULES.keys()


RULE = MetricRule(
    "m",
    "",
    "",
    (Reading("m", 0, 100, copies=("rank",)),),
    100,
    measures="pods",
    sources=("pods",),
    over_series="sum",
)
PAGE = b"""\
m{model="a",rank="0"} 1
m{model="a",rank="1"} 1
m{model="b",rank="0"} 4
m 10
"""


@pytest.mark.parametrize(
    ("over", "value"), [("sum", 15.0), ("avg", 5.0), ("max", 10.0), ("min", 1.0)]
)
def test_the_rows_of_a_page_are_aggregated(over: str, value: float) -> None:
    """Copies of a series count once."""
    rule = convert({**structs.asdict(RULE), "over_series": over}, MetricRule, from_attributes=True)
    assert value_by(PodPage("u", PAGE, 0), rule) == value
