"""Quantiles of histograms: equal to Prometheus's, and close to those of the observations."""

from collections.abc import Sequence
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from metrics_server.sources.pods.quantiles import added, quantile_of

BOUNDS = st.lists(st.integers(-5, 50), unique=True, min_size=1, max_size=8).map(sorted)


def prometheus_quantile(
    quantile: float, bounds: Sequence[float], counts: Sequence[int]
) -> Fraction | None:
    """The definition of histogram_quantile; the last count is for +Inf.

    Everything but the rank is exact: at a bucket's last observation, rounding decides.
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
    """Quantiles are equal for any buckets, even unordered ones."""
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
    """A quantile is in the bucket of the observation with its rank, or the highest finite bound."""
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


def test_the_least_that_can_be_observed() -> None:
    """A page may have any number, even one whose fraction rounds to 0."""
    assert quantile_of(0.5, ((1.0, 2.0), (0.0, 5e-324))) == 1
    assert quantile_of(0.9, ((1.0, 2.0), (0.0, 1e-300))) == 1
