"""Rules and series for the stability tests."""

from collections.abc import Sequence
from itertools import pairwise

from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules

MEAN = Rules(CATALOGUE).find("gpu_utilization")
SUM = Rules(CATALOGUE).find("gpu_utilization_sum")
MAX = Rules(CATALOGUE).find("gpu_utilization_max")


def changes(before: int, series: Sequence[int]) -> list[int]:
    """The number of replicas at each change."""
    return [now for was, now in pairwise([before, *series]) if was != now]
