"""The demo's output: a live table in a terminal, plain lines elsewhere."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from metrics_server.simulator.demo.moments import Moment

try:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
except ImportError:  # without the extra "demo", it prints plain lines
    Live = None  # type: ignore[assignment,misc]  # checked below

_ROWS = 14
# The table's lines besides its rows: the title, the header, and the HPA's reason below it.
_OTHER_LINES = 9

Show = Callable[[Moment], None]


@contextmanager
def screen(out: TextIO | None = None) -> Iterator[Show]:
    """Return a function that shows a moment: in a live table in a terminal, elsewhere as a line.

    Args:
        out: the stream to write to; standard output if None.
    """
    out = out or sys.stdout
    if Live is None or not out.isatty() or Console(file=out).is_dumb_terminal:
        yield _plain(out)
        return
    console = Console(file=out)
    moments: deque[Moment] = deque(maxlen=min(_ROWS, max(1, console.height - _OTHER_LINES)))
    with Live(console=console, refresh_per_second=4) as live:

        def show(moment: Moment) -> None:
            moments.append(moment)
            live.update(_table(moments))

        yield show


def _plain(out: TextIO) -> Show:
    def show(moment: Moment) -> None:
        print(moment.line, file=out, flush=True)

    return show


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
