"""The demo's output: a live table in a terminal, plain lines elsewhere."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from metrics_server.simulator.demo.moments import Moment

try:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
except ImportError:  # without the extra "demo", it prints plain lines
    Live = None  # type: ignore[assignment,misc]  # checked below

_ROWS = 14
# The table's lines other than its rows: the title, the header, and the HPA's reason below it.
_OTHER_LINES = 9


class Screen(Protocol):
    """The demo's output."""

    def show(self, moment: Moment) -> None:
        """Show a moment."""
        ...

    def note(self, line: str) -> None:
        """Print a line that stays."""
        ...


class _Lines:
    """A line for each moment."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, moment: Moment) -> None:
        self.note(moment.line)

    def note(self, line: str) -> None:
        print(line, file=self._out, flush=True)


class _LiveTable:
    """The last moments as a table, below the notes."""

    def __init__(self, console: "Console", live: "Live") -> None:
        self._console, self._live = console, live
        rows = min(_ROWS, max(1, console.height - _OTHER_LINES))
        self._moments: deque[Moment] = deque(maxlen=rows)

    def show(self, moment: Moment) -> None:
        self._moments.append(moment)
        self._live.update(_table(self._moments))

    def note(self, line: str) -> None:
        self._console.print(line, style="yellow", markup=False, highlight=False)


@contextmanager
def screen(out: TextIO | None = None) -> Iterator[Screen]:
    """Return what shows moments: a live table in a terminal, lines elsewhere.

    Args:
        out: the stream to write to; standard output if None.
    """
    out = out or sys.stdout
    if Live is None or not out.isatty() or Console(file=out).is_dumb_terminal:
        yield _Lines(out)
        return
    console = Console(file=out)
    with Live(console=console, refresh_per_second=4) as live:
        yield _LiveTable(console, live)


def _table(moments: deque[Moment]) -> "Table":
    """Return a table of the last moments, one per row, with the HPA's latest reason below."""
    last = moments[-1]
    table = Table(
        title=last.title,
        box=SIMPLE_HEAD,
        caption=f"HPA: {last.reason}",
        caption_justify="left",
        title_justify="left",
    )
    for column in last.columns:
        table.add_column(column.header, justify="right" if column.right else "left", no_wrap=True)
    for moment in moments:
        table.add_row(*moment.cells, style=moment.style)
    return table
