"""The scenarios by name, in the order of the table."""

from collections.abc import Mapping
from typing import Protocol

from tests.bench import (
    Figure,
    ahead,
    engines,
    flat,
    listing,
    parsing,
    pods,
    prometheus,
    scale,
    serving,
    syncs,
)


class Scenario(Protocol):
    """Measures something, and returns its figures."""

    def __call__(self, *, reduced: bool = False) -> list[Figure]:
        """Measure.

        Args:
            reduced: do the least that still runs every line, for tests. The figures mean nothing.

        Raises:
            SkippedError: it cannot run on this machine.
        """
        ...


SCENARIOS: Mapping[str, Scenario] = {
    "warm": serving.warm,
    "cold": serving.cold,
    "parsing": parsing.run,
    "pods": pods.run,
    "engines": engines.run,
    "prometheus": prometheus.run,
    "listing": listing.run,
    "scale": scale.run,
    "ahead": ahead.run,
    "flat": flat.run,
    "syncs": syncs.run,
}
