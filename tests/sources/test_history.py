"""Earlier scrapes: the growth of counters, and how many scrapes are kept, and for how long."""

from collections.abc import Sequence
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from metrics_server.rules.model import Reading
from metrics_server.sources.pods.history import History
from metrics_server.sources.pods.track import Increase, Key, Series
from tests.support.clock import Clock

READING = Reading("m", 0, 100, rate=True)
OTHER = Reading("n", 0, 100, rate=True)


def key(name: str, bounds: tuple[float, ...] = ()) -> Key:
    """The key of a series."""
    return frozenset({("name", name)}), bounds


COUNTERS = st.dictionaries(
    st.sampled_from([key("a"), key("b"), key("c")]), st.tuples(st.integers(0, 20).map(float))
)
HISTOGRAMS = st.dictionaries(
    st.sampled_from([key("a", (1, 2)), key("b", (1, 2)), key("b", (1, 3))]),
    st.tuples(*[st.integers(0, 20).map(float)] * 2),
)


def restated(scrapes: Sequence[tuple[float, Series]], window: int) -> Increase | Literal["once"]:
    """The growth of the counters, from all scrapes, separately for each series, and backwards."""
    kept = [scrapes[0][0]]
    for at, _ in scrapes:
        if at >= kept[-1] + window / 15:
            kept.append(at)
    newest, now = scrapes[-1]
    oldest = min(at for at in kept if at >= newest - window) if window else scrapes[-2:][0][0]
    if oldest == newest:
        return "once"
    of: dict[Key, tuple[float, ...]] = {}
    for name, values in now.items():
        grown, later = [0.0] * len(values), values
        for at, series in reversed(scrapes[:-1]):
            if at < oldest or name not in series:
                break
            before = series[name]
            if any(new < old for new, old in zip(later, before, strict=True)):
                before = (0.0,) * len(before)
            grown = [sum(one) - less for *one, less in zip(grown, later, before, strict=True)]
            later = series[name]
        of[name] = tuple(grown)
    return Increase(newest - oldest, of)


@given(
    st.lists(
        st.tuples(st.floats(0.01, 50), st.one_of(COUNTERS, COUNTERS, HISTOGRAMS)),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from([0, 1, 30, 60, 600]),
)
def test_increases_are_those_of_every_scrape_in_the_window(
    steps: Sequence[tuple[float, Series]], window: int
) -> None:
    """With any resets, new series and ended series, it is as restated from all scrapes."""
    history = History(clock=lambda: 0)
    scrapes: list[tuple[float, Series]] = []
    at = 1000.0
    for seconds, series in steps:
        at += seconds
        scrapes.append((at, series))
        found = history.increase("ns", "u", READING, window, at, series)
        assert found == restated(scrapes, window)
        # Another question about the same scrape, or one that is answered late, changes nothing.
        assert history.increase("ns", "u", READING, window, at, series) == found
        assert history.increase("ns", "u", READING, window, at - 0.005, {}) == found


def test_each_page_reading_and_window_has_its_own() -> None:
    """Pages, readings and windows are not mixed up."""
    history = History(clock=lambda: 0)
    series = {key("a"): (1.0,)}
    for target, reading, window in (
        ("u", READING, 60),
        ("v", READING, 60),
        ("u", OTHER, 60),
        ("u", READING, 30),
    ):
        assert history.increase("ns", target, reading, window, 1, series) == "once"
    assert len(history) == 4
    assert history.increase("ns", "u", READING, 60, 2, series) == Increase(1, {key("a"): (0.0,)})


def test_without_a_window_it_is_kept_for_a_long_sync_period() -> None:
    """An HPA that asks every three minutes has the rate over these."""
    clock = Clock(1000)
    history = History(clock=clock)
    for at, value, expected in ((1000, 1.0, "once"), (1180, 181.0, 180.0), (1381, 999.0, "once")):
        clock.now = at
        history.expire()
        found = history.increase("ns", "u", READING, 0, at, {key("a"): (value,)})
        assert (found if isinstance(found, str) else found.seconds) == expected


def test_it_is_dropped_a_minute_after_its_window() -> None:
    """A page is kept longer if it is used before that."""
    clock = Clock(1000)
    history = History(clock=clock)
    series = {key("a"): (1.0,)}
    history.increase("ns", "u", READING, 60, 1000, series)
    history.increase("ns", "v", READING, 1, 1000, series)
    clock.advance(59.9)
    history.increase("ns", "u", READING, 60, 1059.9, series)
    history.expire()
    assert len(history) == 2
    clock.advance(60.1)
    history.expire()
    assert len(history) == 1
    clock.advance(59)
    assert history.increase("ns", "u", READING, 60, 1179, series) == "once", (
        "too old for the window"
    )
    clock.advance(120)
    history.expire()
    assert len(history) == 0
    assert history.bytes == 0


def test_a_series_that_goes_away_is_not_remembered() -> None:
    """A page with new labels each time does not grow."""
    history = History(clock=lambda: 0)
    sizes = []
    for at in range(200):
        history.increase("ns", "u", READING, 60, at, {key(f"{at:03}"): (1.0,)})
        sizes.append(history.bytes)
    assert max(sizes[:100]) == max(sizes[100:])
