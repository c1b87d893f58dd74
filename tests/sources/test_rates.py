"""The golden table of rates and quantiles: the values of scrapes, worked out by hand."""

import random
import re
from collections.abc import Sequence
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, convert

from metrics_server.rules.serving import SERVING
from metrics_server.sources.pods.history import History
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.rows import Excluded, NoValue
from tests.support.documents import load
from tests.support.pod_pages import value_by

DATA = Path(__file__).parents[1] / "data"
RULES = {rule.name: rule for rule in SERVING}
OVER_TIME = [rule for rule in SERVING if rule.is_over_time]


class Value(Struct, frozen=True, forbid_unknown_fields=True):
    """A value, or text from the reason why there is none."""

    why: str
    value: float | None = None
    none: str = ""


class Case(Struct, frozen=True, forbid_unknown_fields=True):
    """Scrapes of a page, and the last one's value for each metric."""

    why: str
    page: str
    at: list[float]
    values: dict[str, Value]
    rows: dict[str, list[str | float | None]] = {}
    recreated: bool = False

    def pages(self) -> list[bytes]:
        """The page of each scrape."""
        text = (DATA / "engines" / f"{self.page}.prom").read_text("utf-8")
        return [self._page(text, number) for number in range(len(self.at))]

    def _page(self, text: str, number: int) -> bytes:
        for name, values in self.rows.items():
            value = values[number]
            row = "" if value is None else f"{name} {value}\n"
            text = re.sub(rf"(?m)^{re.escape(name)} .*\n", "", text) + row
        return text.encode()


CASES = convert(load((DATA / "golden-rates.yaml").read_text("utf-8")), list[Case])
ROWS = [(case, metric) for case in CASES for metric in case.values]


def ask(case: Case, metric: str, pages: Sequence[bytes]) -> float | NoValue | Excluded:
    """The value from the last scrape."""
    history = History(clock=lambda: 0)
    found: float | NoValue | Excluded = NoValue("")
    for number, (at, page) in enumerate(zip(case.at, pages, strict=True)):
        created = number if case.recreated else 0
        target = f"http://10.0.0.1:8000/metrics#default/web@{created}"
        found = value_by(PodPage(target, page, 1000 + at), RULES[metric], history)
    return found


def check(found: float | NoValue | Excluded, expected: Value) -> None:
    """Check a value of the table."""
    if expected.value is None:
        assert isinstance(found, NoValue)
        assert expected.none in found.why
    else:
        assert found == pytest.approx(expected.value, rel=1e-12)


def test_each_value_has_its_derivation() -> None:
    """Each is either a value or the reason why there is none."""
    values = [value for case in CASES for value in case.values.values()]
    assert all(bool(one.none) == (one.value is None) and one.why for one in values)
    assert {metric for _, metric in ROWS} <= {rule.name for rule in OVER_TIME}


@pytest.mark.parametrize(("case", "metric"), ROWS, ids=[f"{c.why}-{m}" for c, m in ROWS])
def test_golden(case: Case, metric: str) -> None:
    """The value is that of the table."""
    check(ask(case, metric, case.pages()), case.values[metric])


@given(st.sampled_from(ROWS), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    golden: tuple[Case, str], order: random.Random
) -> None:
    """Each page's lines in any order have the same values."""
    case, metric = golden
    pages = []
    for page in case.pages():
        lines = page.splitlines(keepends=True)
        order.shuffle(lines)
        pages.append(b"".join(lines))
    check(ask(case, metric, pages), case.values[metric])


@given(st.binary(max_size=400), st.sampled_from(CASES), st.integers(0, 4000), st.integers(0, 3))
def test_any_bytes_are_a_value_or_a_reason(noise: bytes, case: Case, at: int, number: int) -> None:
    """Whatever a page contains, nothing is raised."""
    pages = case.pages()
    page = pages[number % len(pages)]
    pages[number % len(pages)] = page[:at] + noise + page[at:]
    for rule in OVER_TIME:
        found = ask(case, rule.name, pages)
        assert isinstance(found, NoValue) or (isinstance(found, float) and 0 <= found < inf)


def test_too_many_rows_are_not_remembered() -> None:
    """Many rows would take megabytes for each pod; the message says what to change."""
    page = b"".join(b'vllm:generation_tokens_total{m="%d"} 1\n' % one for one in range(5001))
    found = value_by(PodPage("u", page, 0), RULES["llm_tokens_per_second"])
    assert isinstance(found, NoValue)
    assert found.why.startswith(
        "has 5001 rows of vllm:generation_tokens_total, of which at most 5000 can be remembered"
    )


def test_a_page_that_there_is_no_room_for_has_no_rate() -> None:
    """The page has no rate however often it is scraped; the message names the setting."""
    history = History(max_bytes=1024, clock=lambda: 0)
    page = CASES[0].pages()[0]
    for at in (0, 2, 4):
        for metric, what in (
            ("llm_tokens_per_second", "rate"),
            ("llm_time_to_first_token_p95", "quantile"),
        ):
            found = value_by(PodPage("u", page, at), RULES[metric], history)
            assert found == NoValue(
                f"is not remembered, which a {what} needs: other pages take all of "
                "podPages.maxHistoryBytes"
            )
    assert history.bytes == 0
