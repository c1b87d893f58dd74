"""The results of a run: as a table, as JSON, and as Markdown."""

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.bench import Figure
from tests.bench.machine import Machine

_COLUMNS = ("scenario", "figure", "measured", "against", "target")
# If the output is not a terminal.
_WIDTH = 160


class Row(Struct, frozen=True):
    """A figure and its scenario."""

    scenario: str
    figure: Figure

    @property
    def measured(self) -> str:
        """The value with its unit."""
        return f"{significant(self.figure.value)} {self.figure.unit}"

    @property
    def target(self) -> str:
        """The target, and whether it was missed; empty if there is none."""
        figure = self.figure
        if figure.at_least is not None:
            missed = figure.value < figure.at_least
            text = f"≥ {figure.at_least:,g} {figure.unit}"
        elif figure.at_most is not None:
            missed = figure.value > figure.at_most
            text = f"≤ {figure.at_most:,g} {figure.unit}"
        else:
            return ""
        return f"{text}: missed" if missed else text

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The row as text, one cell per column."""
        figure = self.figure
        return self.scenario, figure.name, self.measured, figure.against, self.target


class Run(Struct, frozen=True):
    """A run of some scenarios.

    Attributes:
        machine: where it ran.
        rows: what was measured.
        skipped: the scenarios that could not run, with the reason.
    """

    machine: Machine
    rows: list[Row]
    skipped: Mapping[str, str]


def significant(value: float) -> str:
    """A number with three significant digits, or with all digits before the point."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def print_table(run: Run, console: Console | None = None) -> None:
    """Print the machine, and one table."""
    console = console or Console()
    if not console.is_terminal:
        console.width = _WIDTH
    table = Table(*_COLUMNS, box=SIMPLE_HEAD)
    scenario = ""
    for row in run.rows:
        name, *cells = row.cells
        table.add_row("" if name == scenario else name, *cells)
        scenario = name
    console.print(str(run.machine), highlight=False, markup=False)
    console.print(table)
    for name, reason in run.skipped.items():
        console.print(f"{name}: skipped: {reason}", highlight=False, markup=False)


def write_json(run: Run, path: Path) -> None:
    """Write a run to a file, for `read_json` and for other programs."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")


def read_json(path: Path) -> Run:
    """Read the run in a file.

    Raises:
        OSError: the file cannot be read.
        msgspec.DecodeError: it does not contain a run.
    """
    return msgspec.json.decode(path.read_bytes(), type=Run)


def markdown(run: Run) -> str:
    """The table as Markdown, below the machine."""
    lines = [
        f"{run.machine}.\n",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
        *(f"| {' | '.join(row.cells)} |" for row in run.rows),
        *(f"\n{name}: skipped: {reason}" for name, reason in run.skipped.items()),
    ]
    return "\n".join(lines)
