"""The command `top`: what pods use of their GPUs."""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol, TextIO, get_args

import msgspec

from metrics_server.commands import flags
from metrics_server.commands.looking import (
    add_cluster_flags,
    add_output_flag,
    aim_of,
    bounded,
    look,
    reached,
    selector_of,
)
from metrics_server.common.text import printable
from metrics_server.config.file import load_config
from metrics_server.doctor.aiming import Aim
from metrics_server.doctor.reader import Reader, Subject
from metrics_server.doctor.usage import Sort, as_json, as_text, rows, sorted_by
from metrics_server.doctor.using import Usage, read_usage
from metrics_server.errors import MetricsServerError

try:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text
except ImportError:  # without the extra "demo", plain text is printed
    Console = None  # type: ignore[assignment,misc]  # checked below


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags, and the function that runs it."""
    parser.set_defaults(run=_run)
    add_cluster_flags(parser)
    parser.add_argument(
        "-n",
        "--namespace",
        type=flags.dns_label,
        default="default",
        metavar="NAME",
        help="the namespace of the pods (default: %(default)s)",
    )
    parser.add_argument(
        "-l", "--selector", metavar="SELECTOR", help="the labels of the pods (default: all)"
    )
    parser.add_argument(
        "--sort",
        choices=get_args(Sort),
        default="utilization",
        help="what to sort by, highest first (default: %(default)s)",
    )
    parser.add_argument(
        "-w",
        "--watch",
        action="store_true",
        help="read repeatedly until interrupted, also after an error",
    )
    parser.add_argument(
        "--every",
        type=flags.duration,
        default=2.0,
        metavar="DURATION",
        help="how often --watch reads (default: 2s)",
    )
    add_output_flag(parser)


def _run(arguments: argparse.Namespace) -> int:
    subject = Subject(
        server_namespace=arguments.server_namespace,
        namespace=arguments.namespace,
        selector=selector_of(arguments.selector),
        config=load_config(arguments.config) if arguments.config else None,
    )
    every = arguments.every if arguments.watch else None
    with _screen(sys.stdout, arguments.output, arguments.sort) as show:
        look(_read(aim_of(arguments), subject, show, every))
    return 0


class _Show(Protocol):
    def __call__(self, reading: Usage | str) -> None:
        """Show what pods use, or why it could not be read."""
        ...


async def _read(aim: Aim, subject: Subject, show: _Show, every: float | None) -> None:
    async with reached(aim) as api:
        while True:
            try:
                async with Reader(api, subject) as reader, bounded():
                    reading: Usage | str = await read_usage(reader)
            except _PASSING as error:
                if every is None:
                    raise
                # What a server sends must not control the terminal.
                reading = f"not read at {datetime.now(UTC):%H:%M:%SZ}: {printable(str(error))}"
            show(reading)
            if every is None:
                return
            await asyncio.sleep(every)


# The next reading may succeed.
_PASSING = (MetricsServerError, msgspec.DecodeError, ValueError)


@contextmanager
def _screen(out: TextIO, form: str, sort: Sort) -> Iterator[_Show]:
    """Yield a function that shows usage: as a table that stays in place, or one after the other."""
    if form == "table" and Console is not None and out.isatty():
        with Live(console=Console(file=out), auto_refresh=False) as live:
            yield lambda reading: live.update(_table(reading, sort), refresh=True)
        return

    def show(reading: Usage | str) -> None:
        if isinstance(reading, str):
            sys.stderr.write(f"gpu-metrics-server: {reading}\n")
            return
        uses = sorted_by(reading.uses, sort)
        if form == "json":
            out.write(as_json(uses, reading.source))
        else:
            out.write(f"{as_text(uses)}from {reading.source}\n")
        out.flush()

    yield show


def _table(reading: Usage | str, sort: Sort) -> "Group":
    if isinstance(reading, str):
        return Group(Text(reading, style="red"))
    headings, *cells = rows(sorted_by(reading.uses, sort))
    table = Table(box=SIMPLE_HEAD)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < 3 else "right", no_wrap=True)  # noqa: PLR2004 - those before are names
    for row in cells:
        table.add_row(*map(Text, row))
    return Group(table, Text(f"from {reading.source}", style="dim"))
