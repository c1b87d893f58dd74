"""Sentences that the demo prints before and after its table."""

from collections.abc import Sequence
from itertools import pairwise

from metrics_server.simulator.controller import Sync
from metrics_server.simulator.demo.options import DemoOptions


def ending(options: DemoOptions) -> str:
    """Return when the demo ends."""
    by_itself = f"after {options.duration:g} s or " if options.duration is not None else ""
    return f"The demo ends {by_itself}on Ctrl-C. Meanwhile, try from another terminal:"


def replicas_of(syncs: Sequence[Sync]) -> list[int]:
    """Return the numbers of replicas, from before the first sync to after the last."""
    return [syncs[0].replicas, *(sync.decision.replicas for sync in syncs)]


def scalings(syncs: Sequence[Sync]) -> str:
    """Return how often the HPA scaled, and how far."""
    replicas = replicas_of(syncs)
    count = sum(a != b for a, b in pairwise(replicas))
    return f"It scaled {times(count)}, between {min(replicas)} and {max(replicas)} replicas."


def times(count: int) -> str:
    """Return how often something happened."""
    return "once" if count == 1 else f"{count} times"
