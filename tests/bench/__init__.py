"""Benchmarks: `python -m tests.bench` prints the figures that the documents quote.

A figure is a ratio of two things measured in one run, in turn, so that it says little of the
machine and much of the code. None is asserted.

Each module of this package is a benchmark and has `run() -> list[Figure]`.
"""

from collections.abc import Callable
from statistics import median
from time import perf_counter

from msgspec import Struct

_PAIRS = 15
# What is quick is repeated until the clock's own steps do not matter.
_LEAST_SECONDS = 0.02


class Figure(Struct, frozen=True):
    """A figure.

    Attributes:
        name: what was measured.
        value: the figure.
        unit: what the value counts, as words that follow it.
    """

    name: str
    value: float
    unit: str


def times_faster(ours: Callable[[], object], theirs: Callable[[], object]) -> float:
    """How many times faster ours is: the median of pairs that are measured in turn."""
    ratios: list[float] = []
    for _ in range(_PAIRS):
        reference = _seconds(theirs)
        ratios.append(reference / _seconds(ours))
    return median(ratios)


def _seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    calls = 0
    began = perf_counter()
    while (elapsed := perf_counter() - began) < _LEAST_SECONDS:
        call()
        calls += 1
    return elapsed / calls
