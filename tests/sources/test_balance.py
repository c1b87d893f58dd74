"""Reading ahead adds hardly any scrapes, whatever the times of questions."""

from collections.abc import Iterable, Mapping
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.sources.pages import balance as module
from metrics_server.sources.pages.balance import Balance

MAX_AGE = 2.0
Step = tuple[Literal["need", "ahead"], str, float]


def scraped(steps: Iterable[Step], limit: Balance) -> tuple[int, int]:
    """The number of scrapes for these steps, with reading ahead and without.

    A page is read ahead even if it is kept, as long as the balance allows it.
    """
    kept: dict[str, float] = {}
    on_demand: dict[str, float] = {}
    counts = [0, 0]
    now = 0.0
    for kind, target, pause in steps:
        now += pause
        for one in [one for one, at in kept.items() if now >= at + MAX_AGE]:
            del kept[one]
            limit.drop(one)
        if kind == "need":
            limit.need(target, now)
            if now >= on_demand.get(target, -MAX_AGE) + MAX_AGE:
                on_demand[target] = now
                counts[1] += 1
            if target not in kept:
                kept[target] = now
                counts[0] += 1
                limit.begin(target, is_ahead=False)
        elif limit.allows_more():
            if target in kept:
                limit.drop(target)
            kept[target] = now
            counts[0] += 1
            limit.begin(target, is_ahead=True)
    return counts[0], counts[1]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["need", "ahead"]),
        st.sampled_from("abcd"),
        st.sampled_from([0.0, 0.1, 0.7, 1.9, 2.0, 2.1, 5.0]),
    ),
    max_size=120,
)


@given(STEPS, st.integers(0, 5))
def test_the_scrapes_that_are_added_have_a_limit(steps: list[Step], most: int) -> None:
    """The limit holds whatever is read ahead; pages not yet needed may come on top."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST", most)
        limit = Balance(MAX_AGE)
        total, on_demand = scraped(steps, limit)
        still_unneeded = len(limit._unneeded)
        assert limit.added == total - still_unneeded - on_demand
        # Those in progress when it stopped may be added, too: one for each page.
        assert limit.added <= most + 0.02 * on_demand + 1 + len("abcd")


def in_turn(periods: int, ahead: float, targets: str = "abcdefgh") -> list[Step]:
    """Pages that are needed every 15 s, and are read this long before."""
    steps: list[Step] = []
    for _ in range(periods):
        for target in targets:
            steps += [("ahead", target, 1.0), ("need", target, ahead)]
        steps.append(("need", "z", 15 - len(targets) * (1 + ahead)))
    return steps


@pytest.mark.parametrize(("ahead", "added"), [(0.1, 0), (0.9, 0)])
def test_what_is_needed_after_it_was_read_adds_nothing(ahead: float, added: int) -> None:
    """Pages that are needed after being read add no scrapes."""
    limit = Balance(MAX_AGE)
    total, on_demand = scraped(in_turn(100, ahead), limit)
    assert (total - on_demand, limit.added, limit.allows_more()) == (added, added, True)


def test_what_is_read_for_nothing_ends() -> None:
    """Reading for nothing ends after the hundred scrapes that it may add."""
    limit = Balance(MAX_AGE)
    steps: list[Step] = [("ahead", f"page-{number}", 0.1) for number in range(500)]
    steps.append(("need", "z", 10))
    total, on_demand = scraped(steps, limit)
    # The kept ones may still be needed.
    assert 100 < total - on_demand <= 101 + MAX_AGE / 0.1
    assert not limit.allows_more()


def test_the_past_counts_less_and_less() -> None:
    """Last week's hundred thousand scrapes allow no more than recent ones."""
    limit = Balance(MAX_AGE)
    for number in range(100_000):
        limit.need(f"page-{number}", number)
        limit.begin(f"page-{number}", is_ahead=False)
    assert limit._on_demand <= 20_000
    assert limit.added <= 1
    found: Mapping[str, float] = {**limit._lately, **limit._before}
    assert len(found) <= 4
