"""Earlier scrapes: how much counters grew, and how many scrapes are kept for how long."""

from collections.abc import Sequence
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from metrics_server.rules.model import Reading
from metrics_server.sources.pods.history import History, Increase, Key, Series
from metrics_server.sources.pods.quantiles import added, quantile_of
from tests.support.clock import Clock

READING = Reading("m", 0, 100, rate=True)
OTHER = Reading("n", 0, 100, rate=True)
MIB = 1024 * 1024


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


def restated(scrapes: Sequence[tuple[float, Series]], window: int) -> Increase | None:
    """How much the counters grew, from all scrapes, each series by itself and backwards."""
    kept = [scrapes[0][0]]
    for at, _ in scrapes:
        if at >= kept[-1] + window / 30:
            kept.append(at)
    newest, now = scrapes[-1]
    oldest = min(at for at in kept if at >= newest - window) if window else scrapes[-2:][0][0]
    if oldest == newest:
        return None
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
    """Whatever is reset, appears and goes away: as restated from all scrapes."""
    history = History(clock=lambda: 0)
    scrapes: list[tuple[float, Series]] = []
    at = 1000.0
    for seconds, series in steps:
        at += seconds
        scrapes.append((at, series))
        found = history.increase("u", READING, window, at, series)
        assert found == restated(scrapes, window)
        # Another question about the same scrape, or one that is answered late, changes nothing.
        assert history.increase("u", READING, window, at, series) == found
        assert history.increase("u", READING, window, at - 0.005, {}) == found


def test_each_page_reading_and_window_has_its_own() -> None:
    """None is mistaken for another."""
    history = History(clock=lambda: 0)
    series = {key("a"): (1.0,)}
    for target, reading, window in (
        ("u", READING, 60),
        ("v", READING, 60),
        ("u", OTHER, 60),
        ("u", READING, 30),
    ):
        assert history.increase(target, reading, window, 1, series) is None
    assert len(history) == 4
    assert history.increase("u", READING, 60, 2, series) == Increase(1, {key("a"): (0.0,)})


def test_it_is_dropped_a_minute_after_its_window() -> None:
    """Unless it is used until then."""
    clock = Clock(1000)
    history = History(clock=clock)
    series = {key("a"): (1.0,)}
    history.increase("u", READING, 60, 1000, series)
    history.increase("v", READING, 0, 1000, series)
    clock.advance(59.9)
    history.increase("u", READING, 60, 1059.9, series)
    history.expire()
    assert len(history) == 2
    clock.advance(60.1)
    history.expire()
    assert len(history) == 1
    clock.advance(59)
    assert history.increase("u", READING, 60, 1179, series) is None, "too old for the window"
    clock.advance(120)
    history.expire()
    assert len(history) == 0
    assert history.bytes == 0


def test_memory_is_bounded() -> None:
    """By scrapes of a page, and by bytes of all; the least recently used pages are dropped."""
    history = History(max_bytes=MIB, clock=lambda: 0)
    bounds = tuple(map(float, range(22)))
    series = {key(name, bounds): bounds for name in "ab"}
    for at in range(1000):
        history.increase("u", READING, 60, at / 10, series)
    one = history.bytes
    # 31 snapshots of 44 numbers, and what is known of the series.
    assert 31 * 44 * 8 < one < 40_000
    for pod in range(200):
        history.increase("u", READING, 60, 200, series)
        for at in range(100, 170, 2):
            history.increase(f"http://10.0.0.{pod}/metrics", READING, 60, at, series)
        assert history.bytes <= MIB
    assert 20 < len(history) < 200
    assert history.increase("u", READING, 60, 201, series) is not None


def test_a_series_that_goes_away_is_not_remembered() -> None:
    """A page whose labels are new each time does not grow."""
    history = History(clock=lambda: 0)
    sizes = []
    for at in range(200):
        history.increase("u", READING, 60, at, {key(f"{at:03}"): (1.0,)})
        sizes.append(history.bytes)
    assert max(sizes[:100]) == max(sizes[100:])


BOUNDS = st.lists(st.integers(-5, 50), unique=True, min_size=1, max_size=8).map(sorted)


def prometheus_quantile(
    quantile: float, bounds: Sequence[float], counts: Sequence[int]
) -> Fraction | None:
    """The definition of histogram_quantile; the last count is of +Inf.

    All but the rank is exact: if it is that of a bucket's last observation, rounding decides.
    """
    total = max(counts)
    if total == 0:
        return None
    rank = Fraction(quantile * total)
    start, below = Fraction(0), 0
    for number, bound in enumerate(bounds):
        count = max(counts[: number + 1])
        if count >= rank:
            if number == 0 and bound <= 0:
                return Fraction(bound)
            return start + (Fraction(bound) - start) * (rank - below) / (count - below)
        start, below = Fraction(bound), count
    return Fraction(bounds[-1])


@given(BOUNDS, st.data(), st.integers(1, 99))
def test_a_quantile_is_that_of_prometheus(
    bounds: list[int], data: st.DataObject, percent: int
) -> None:
    """Of any buckets, even some that are out of order."""
    size = len(bounds) + 1
    counts = data.draw(st.lists(st.integers(0, 30), min_size=size, max_size=size))
    upper = (*map(float, bounds), float("inf"))
    found = quantile_of(percent / 100, (upper, tuple(map(float, counts))))
    expected = prometheus_quantile(percent / 100, bounds, counts)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert abs(found - expected) < 1e-9


@given(
    BOUNDS,
    st.lists(st.lists(st.floats(0.1, 60), max_size=20), min_size=1, max_size=3),
    st.integers(1, 99),
)
def test_a_quantile_is_near_that_of_the_observations(
    bounds: list[int], observed: list[list[float]], percent: int
) -> None:
    """It is in the bucket of the observation of its rank, or the highest finite bound."""
    upper = (*map(float, bounds), float("inf"))
    histogram = added(
        (upper, tuple(float(sum(one <= bound for one in engine)) for bound in upper))
        for engine in observed
    )
    found = quantile_of(percent / 100, histogram)
    ordered = sorted(one for engine in observed for one in engine)
    if not ordered:
        assert found is None
        return
    assert found is not None
    exact = ordered[-(-percent * len(ordered) // 100) - 1]
    if exact > bounds[-1]:
        assert found == bounds[-1]
    else:
        high = min(bound for bound in upper if bound >= exact)
        low = max((bound for bound in upper if bound < exact), default=0.0)
        assert min(low, high) <= found <= high
