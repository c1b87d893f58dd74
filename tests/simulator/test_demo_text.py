"""The demo's text before and after its table."""

from itertools import pairwise

import pytest

from metrics_server.simulator.autoscaling.hpa import Decision, History
from metrics_server.simulator.controller import Reading, Sync
from metrics_server.simulator.demo.text import scalings, times


def syncs(*replicas: int) -> list[Sync]:
    """Syncs that decide for these replicas, one after another."""
    return [
        Sync(before, (Reading("exporters", "1/1"),), Decision(after, "", (), (), History()))
        for before, after in pairwise(replicas)
    ]


@pytest.mark.parametrize(
    ("replicas", "sentence"),
    [
        ((6, 6, 6), "It did not scale; the number of replicas stayed at 6."),
        ((6, 6, 8), "It scaled once, between 6 and 8 replicas."),
        ((6, 8, 5), "It scaled twice, between 5 and 8 replicas."),
        ((6, 8, 5, 4), "It scaled 3 times, between 4 and 8 replicas."),
    ],
)
def test_what_the_hpa_did(replicas: tuple[int, ...], sentence: str) -> None:
    """How often it scaled, and how far."""
    assert scalings(syncs(*replicas)) == sentence


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 times"), (1, "once"), (2, "twice"), (3, "3 times")]
)
def test_how_often(count: int, words: str) -> None:
    """In words, up to two."""
    assert times(count) == words
