"""Quantiles of what histograms observed, from the growth of their buckets."""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from math import inf

Buckets = tuple[tuple[float, ...], tuple[float, ...]]
"""The upper bounds of a histogram's buckets in ascending order, up to +Inf, and their counts, each
of which includes the counts before it."""


def added(histograms: Iterable[Buckets]) -> Buckets:
    """Return the sum of at least one histogram, in the buckets that all of them have."""
    counts = [dict(zip(*one, strict=True)) for one in histograms]
    common = sorted(set(counts[0]).intersection(*counts[1:]))
    return tuple(common), tuple(sum(one[bound] for one in counts) for bound in common)


def quantile_of(quantile: float, histogram: Buckets) -> float | None:
    """Return a quantile as Prometheus' histogram_quantile does; None without an observation.

    Observations are taken to be spread evenly over their bucket. If the quantile is above the
    highest finite bound, it is that bound; of a histogram without one, it is +Inf.

    Args:
        quantile: between 0 and 1.
        histogram: the buckets.
    """
    bounds, counts = histogram
    # Buckets that are read while the engine updates them can be slightly out of order.
    counts = tuple(accumulate(counts, max))
    if counts[-1] <= 0:
        return None
    rank = quantile * counts[-1]
    at = bisect_left(counts, rank)
    if at >= len(bounds) - 1:
        return bounds[at - 1] if at else inf
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    start, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    if counts[at] <= below:  # the rank of the least float above 0 is 0
        return bounds[at]
    return start + (bounds[at] - start) * (rank - below) / (counts[at] - below)
