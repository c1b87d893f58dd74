"""Benchmarks: `make bench` measures the figures that the documents quote, and prints one table.

A figure is a ratio of two things measured in one run, in turn, so that it says little about the
machine and much about the code; or an absolute cost of a whole cluster that must be small on any
machine. Nothing here is asserted: what CI checks is counted (`tests.bench.counts`).

A scenario is a function and a line in `tests/bench/registry.py`:

    def run(*, reduced: bool = False) -> list[Figure]:
        rounds = 2 if reduced else 50
        ...
        return [
            Figure("throughput of warm answers", 61.2, "%", against="a bare handler", at_least=70),
            Figure("memory with 5,000 nodes", 398, "MiB"),
        ]

    # in registry.py
    "warm": warm.run,

`reduced` asks for the least work that still runs every line, within seconds, for tests. A scenario
that cannot run here raises `SkippedError` with the reason. Printing, JSON and docs/performance.md
are in `report.py`.
"""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import uvloop
from msgspec import Struct

from metrics_server.commands.running import prepare_process
from metrics_server.telemetry import logs

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, SpawnContext

PAIRS = 15
"""How often `times_faster` compares; fewer for a reduced run."""
# Spawned, so that each has its own memory; processes that are not measured may be forked.
CONTEXT: "SpawnContext | ForkServerContext" = multiprocessing.get_context("spawn")
# Fast calls are repeated until the clock's resolution does not matter.
_LEAST_SECONDS = 0.02


class Figure(Struct, frozen=True):
    """A figure that a scenario measured.

    Attributes:
        name: what was measured.
        value: the figure.
        unit: of the value: `%` or `times` for a ratio, `ms`, `MiB`, `s`, `per second` and the like.
        against: what a ratio is relative to, measured in the same run; empty for other figures.
        at_least: the target, if more is better and there is one.
        at_most: the target, if less is better and there is one.
    """

    name: str
    value: float
    unit: str
    against: str = ""
    at_least: float | None = None
    at_most: float | None = None


class SkippedError(Exception):
    """A scenario cannot run on this machine; the message says what is missing."""


def times_faster(
    ours: Callable[[], object], theirs: Callable[[], object], pairs: int = PAIRS
) -> float:
    """How many times faster ours is: the median of pairs measured in turn."""
    ratios: list[float] = []
    for _ in range(pairs):
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


def uvloop_runner() -> asyncio.Runner:
    """A runner with the event loop of the server."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


class Serve(Protocol):
    """Starts the servers of a process, until the stack closes, and returns their URLs."""

    async def __call__(self, stack: AsyncExitStack, /, *arguments: str) -> list[str]:
        """Start."""
        ...


@asynccontextmanager
async def process(serve: Serve, *arguments: str) -> AsyncIterator[list[str]]:
    """A process that serves, and its URLs."""
    ours, theirs = multiprocessing.Pipe()
    child = CONTEXT.Process(target=_serve_until_closed, args=(serve, theirs, *arguments))
    child.start()
    theirs.close()
    try:
        yield await asyncio.to_thread(ours.recv)
    finally:
        ours.close()
        await asyncio.to_thread(child.join)


def _serve_until_closed(serve: Serve, pipe: "Connection[list[str], None]", *arguments: str) -> None:
    logs.configure("error")
    prepare_process()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            pipe.send(await serve(stack, *arguments))
            await asyncio.to_thread(pipe.poll, None)

    with uvloop_runner() as runner:
        runner.run(main())
