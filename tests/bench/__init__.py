"""Benchmarks: `python -m tests.bench` prints the figures that the documents quote.

A figure is a ratio of two things measured in one run, in turn, so that it says little of the
machine and much of the code; or what a whole cluster takes, where it must be little enough for any
machine. None is asserted.

Each module of this package is a benchmark and has `run() -> list[Figure]`.
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


def uvloop_runner() -> asyncio.Runner:
    """A runner of the loop that the server runs on."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


class Serve(Protocol):
    """Starts what a process serves, for as long as the stack lasts, and returns its URLs."""

    async def __call__(self, stack: AsyncExitStack, /, *arguments: str) -> list[str]:
        """Start."""
        ...


@asynccontextmanager
async def process(serve: Serve, *arguments: str) -> AsyncIterator[list[str]]:
    """A process that serves, and the URLs that it serves at."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(
        target=_serve_until_closed, args=(serve, theirs, *arguments)
    )
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
