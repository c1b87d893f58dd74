"""What commands share: their flags as a value, and their event loop."""

import argparse
import asyncio
import gc
from collections.abc import Coroutine
from typing import TypeVar

import msgspec
import uvloop
from msgspec import Struct

from metrics_server.http.sockets import allow_open_files

# Scrapes make many objects that live for seconds and are in no cycle. With Python's own thresholds
# (700, 10, 10), a sync of a thousand HPAs spent a sixth of its time in the garbage collector.
_GC_THRESHOLDS = 10_000, 10, 50

Options = TypeVar("Options", bound=Struct)


def options_of(kind: type[Options], arguments: argparse.Namespace) -> Options:
    """A command's flags as a struct whose fields have the flags' names."""
    return msgspec.convert(vars(arguments), kind, from_attributes=True)


def prepare_process() -> None:
    """Prepare the process for a long run: open files and memory."""
    allow_open_files()
    # Objects that imports created stay. Scanning them in each full collection would stop the event
    # loop for some 40 ms.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def run(command: Coroutine[object, object, None]) -> None:
    """Run a command in a new event loop."""
    prepare_process()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(command)
