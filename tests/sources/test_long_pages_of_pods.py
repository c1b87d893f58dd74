"""Pages of pods with thousands of series, which may be others in each scrape, hold nobody up."""

import asyncio
import re
import time

import pytest

from metrics_server.rules.model import MetricRule, Reading
from metrics_server.rules.series import SeriesMatcher, SeriesRequirement, SeriesSelector
from metrics_server.sources import turns as turns_module
from metrics_server.sources.pods.history import History
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.rows import NoValue
from metrics_server.sources.pods.selected import SelectedPage
from metrics_server.sources.pods.series import Part
from metrics_server.sources.turns import Turns

SERIES = 5000
# Of the event loop, at most; the work below takes a part of it.
LONGEST_SECONDS = 0.05
RATE = Reading("c", 0, 1e9, rate=True)
GAUGE = Reading("g", 0, 1e9)


def rule(reading: Reading) -> MetricRule:
    """A rule with one reading."""
    return MetricRule("m", "", "", (reading,), 1e9, window=15, measures="pods", sources=("pods",))


def page(at: int, labels: int, reading: Reading) -> PodPage:
    """The page of a scrape, with series that no other has."""
    lines: list[str] = []
    for number in range(at * SERIES, (at + 1) * SERIES):
        text = ",".join(f'l{one}="{number}"' for one in range(labels))
        lines.append(f"{reading.rows}{{{text}}} {number % 100}\n")
    return PodPage("u", "".join(lines).encode(), at)


@pytest.mark.slow
def test_what_is_remembered_of_a_page_is_compared_quickly() -> None:
    """Even if all of it is new; it is parsed elsewhere."""
    history, of = History(clock=lambda: 0), rule(RATE)
    took: list[float] = []
    for at in range(0, 22, 2):
        one = page(at, 10, RATE)
        one.parse(of.readings)
        began = time.thread_time()
        part = one.part(of, "default", history)
        took.append(time.thread_time() - began)
        assert isinstance(part, Part) or at == 0
    # One of those with a full window, as the machine may be busy.
    assert min(took[8:]) < LONGEST_SECONDS


@pytest.mark.slow
def test_too_many_labels_are_not_remembered() -> None:
    """Comparing them would take too long, however few rows have them."""
    found = page(0, 25, RATE).part(rule(RATE), "default", History(2**30))
    assert isinstance(found, NoValue)
    assert re.fullmatch(
        r"has labels in the rows of c that take \d\d MiB, of which at most 16 can be remembered: "
        r"select some of them with the reading's where",
        found.why,
    )


async def test_other_tasks_run_while_series_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one page, for the labels that a question selects."""
    monkeypatch.setattr(turns_module, "_TURN_SECONDS", 0)
    found = page(0, 2, GAUGE)
    readings = (Reading("absent", 0, 1), GAUGE)
    turns: list[None] = []

    async def count() -> None:
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    selector = SeriesSelector((SeriesRequirement("l1", inside=True, values=("17",)),))
    selected = SelectedPage(found, SeriesMatcher(selector))
    counting = asyncio.create_task(count())
    await Turns().through(selected.searching(readings))
    counting.cancel()
    assert len(turns) >= SERIES / 200
    assert found.part(rule(GAUGE), "default", History(), selected) == Part((17.0,))
