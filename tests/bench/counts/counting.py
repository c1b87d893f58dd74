"""Counts what the interpreter does for a piece of work."""

import gc
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from msgspec import Struct, structs

if TYPE_CHECKING:
    from _typeshed import TraceFunction

_PACKAGES = "site-packages/"
# An identifier of sys.monitoring that is not reserved for a kind of tool.
_TOOL = 4

Work = Callable[[], object]
"""A fixed piece of work, to be done any number of times."""


class Counts(Struct, frozen=True):
    """The counts of one piece of work, in this thread only.

    Attributes:
        calls: of Python functions; each resumption of a coroutine is one.
        c_calls: of functions written in C.
        instructions: of bytecode.
        peak_bytes: the most memory allocated at a time, beyond that before; None if not counted.
        functions: the instructions by function, most first.
    """

    calls: int
    c_calls: int
    instructions: int
    peak_bytes: int | None
    functions: Mapping[str, int]

    @property
    def figures(self) -> Mapping[str, int]:
        """The compared counts, by name."""
        found = {
            "calls": self.calls,
            "C calls": self.c_calls,
            "instructions": self.instructions,
        }
        return found if self.peak_bytes is None else {**found, "peak bytes": self.peak_bytes}


def count_until(work: Work, is_right: Callable[[Counts], bool]) -> Counts:
    """Count work that does not run alone; once more if the first counts are not right.

    A timer may run during one of them, so the lower figures count.
    """
    first = count(work, alone=False)
    if is_right(first):
        return first
    second = count(work, alone=False)
    least = min(first, second, key=lambda one: one.instructions)
    return structs.replace(
        least,
        calls=min(first.calls, second.calls),
        c_calls=min(first.c_calls, second.c_calls),
    )


def count(work: Work, *, alone: bool) -> Counts:
    """Count a piece of work.

    Args:
        work: the work, which is done once before, to fill caches.
        alone: whether nothing else runs in the process. If so, memory is counted too, for all
            threads.
    """
    work()
    with _no_garbage_collection():
        calls, c_calls = _calls(work)
        traced = _instructions(work)
        peak = _peak_bytes(work) if alone else None
    functions: Counter[str] = Counter()
    for code, instructions in traced.items():
        functions[name_of(code)] += instructions
    return Counts(
        calls=calls,
        c_calls=c_calls,
        instructions=traced.total(),
        peak_bytes=peak,
        functions=dict(functions.most_common()),
    )


@cache
def name_of(code: CodeType) -> str:
    """A function as its module's path, from the package on, and its name."""
    path = code.co_filename
    if _PACKAGES in path:
        path = path.rpartition(_PACKAGES)[2]
    for folder in sorted(sys.path, key=len, reverse=True):
        if folder and Path(path).is_relative_to(folder):
            path = str(Path(path).relative_to(folder))
    return f"{path}:{code.co_qualname}"


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector from running, as its timing differs between runs."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _calls(work: Work) -> tuple[int, int]:
    """The calls of Python functions, and of C functions."""
    events: Counter[str] = Counter()

    def profile(_: FrameType, event: str, __: object) -> None:
        events[event] += 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return events["call"], events["c_call"]


def _instructions(work: Work) -> Counter[CodeType]:
    """The bytecode instructions, by function."""
    executed: Counter[CodeType] = Counter()
    if sys.version_info >= (3, 12):
        with _monitored(executed):
            work()
    else:
        with _traced(executed):
            work()
    return executed


@contextmanager
def _traced(executed: Counter[CodeType]) -> Iterator[None]:
    def called(frame: FrameType, _: str, __: object) -> "TraceFunction":
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return traced

    def traced(frame: FrameType, event: str, _: object) -> "TraceFunction":
        if event == "opcode":
            executed[frame.f_code] += 1
        return traced

    before = sys.gettrace()
    sys.settrace(called)
    try:
        yield
    finally:
        sys.settrace(before)


if sys.version_info >= (3, 12):

    @contextmanager
    def _monitored(executed: Counter[CodeType]) -> Iterator[None]:
        """Since Python 3.12, tracing leaves out instructions, and monitoring covers all threads."""
        thread = threading.get_ident()

        def instruction(code: CodeType, _: int) -> None:
            if threading.get_ident() == thread:
                executed[code] += 1

        monitoring = sys.monitoring
        event = monitoring.events.INSTRUCTION
        monitoring.use_tool_id(_TOOL, "counts")
        monitoring.register_callback(_TOOL, event, instruction)
        monitoring.set_events(_TOOL, event)
        try:
            yield
        finally:
            monitoring.set_events(_TOOL, monitoring.events.NO_EVENTS)
            monitoring.free_tool_id(_TOOL)


def _peak_bytes(work: Work) -> int:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = work()
        _, peak = tracemalloc.get_traced_memory()
        del result
    finally:
        tracemalloc.stop()
    return peak - before
