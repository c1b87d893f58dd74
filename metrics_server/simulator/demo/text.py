"""Sentences that the demo prints before and after its table."""

from collections.abc import Sequence
from itertools import pairwise

from metrics_server.simulator.controller import Sync
from metrics_server.simulator.demo.options import DemoOptions

_PAGE = "To watch and change it in a browser, restart it with --open, or --page to print the URL."


def ending(options: DemoOptions) -> str:
    """Return when the demo ends, and how to look at it."""
    by_itself = f"after {options.duration:g} s or " if options.duration is not None else ""
    page = " " if options.page or options.open else f"\n{_PAGE}\n"
    return f"The demo ends {by_itself}on Ctrl-C.{page}Meanwhile, try from another terminal:"


def replicas_of(syncs: Sequence[Sync]) -> list[int]:
    """Return the numbers of replicas, from before the first sync to after the last."""
    return [syncs[0].replicas, *(sync.decision.replicas for sync in syncs)]


def scalings(syncs: Sequence[Sync]) -> str:
    """Return how often the HPA scaled, and how far."""
    replicas = replicas_of(syncs)
    count = sum(a != b for a, b in pairwise(replicas))
    if not count:
        return f"It did not scale; the number of replicas stayed at {replicas[0]}."
    return f"It scaled {times(count)}, between {min(replicas)} and {max(replicas)} replicas."


def times(count: int) -> str:
    """Return how often something happened."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
