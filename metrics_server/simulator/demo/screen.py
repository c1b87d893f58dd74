"""The demo's output: a live table in a terminal, plain lines elsewhere."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from msgspec import Struct

try:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
except ImportError:  # without the extra "demo", it prints plain lines
    Live = None  # type: ignore[assignment,misc]  # checked below

_TITLE = "GPU utilization scales a Deployment (only the server is real)"
_ROWS = 14
# The table's lines besides its rows: the title, the header, and the HPA's reason below it.
_OTHER_LINES = 9
_BAR_CELLS = 16
_STYLES = {"exporters": "", "last-known": "yellow", "simulated": "magenta"}


class Moment(Struct, frozen=True):
    """The state to show after one sync of the HPA.

    Attributes:
        seconds: since the start.
        demand: on the whole Deployment, in GPU-percent.
        utilization: the metric's value in percent; None after an error.
        target: the HPA's target, in percent.
        ready: Ready pods.
        replicas: requested pods.
        source: where the value came from, or "error".
        pods: how many of the pods it covers, such as "3/4"; empty after an error.
        reason: the HPA's reason for its decision.
    """

    seconds: float
    demand: float
    utilization: float | None
    target: float
    ready: int
    replicas: int
    source: str
    pods: str
    reason: str

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return the time, the demand, the utilization, the replicas and the source, as text."""
        return (
            f"{self.seconds:.0f} s",
            f"{self.demand / 100:.1f} GPUs",
            "unknown" if self.utilization is None else f"{self.utilization:.0f} %",
            f"{self.ready}/{self.replicas} ready",
            f"{self.source} {self.pods}".rstrip(),
        )


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
        time, demand, utilization, replicas, source = moment.cells()
        print(
            f"{time:>5}  demand {demand:>9}  utilization {utilization:>7} of "
            f"{moment.target:.0f} %  replicas {replicas:<11}  source {source:<16}  {moment.reason}",
            file=out,
            flush=True,
        )

    return show


def _table(moments: deque[Moment]) -> "Table":
    """Return a table of the last moments, one per row, with the HPA's latest reason below."""
    last = moments[-1]
    table = Table(
        title=_TITLE,
        box=SIMPLE_HEAD,
        caption=f"HPA: {last.reason}",
        caption_justify="left",
        title_justify="left",
    )
    table.add_column("TIME", justify="right", no_wrap=True)
    table.add_column("DEMAND", justify="right", no_wrap=True)
    table.add_column("UTIL", justify="right", no_wrap=True)
    table.add_column(f"│ TARGET {last.target:.0f} %", no_wrap=True)
    table.add_column("REPLICAS", no_wrap=True)
    table.add_column("SOURCE, PODS", no_wrap=True)
    for moment in moments:
        time, demand, utilization, replicas, source = moment.cells()
        style = _STYLES.get(moment.source, "red")
        table.add_row(time, demand, utilization, _bar(moment), replicas, source, style=style)
    return table


def _bar(moment: Moment) -> str:
    """Draw the utilization as a bar, with a mark at the target."""
    filled = round((moment.utilization or 0) / 100 * _BAR_CELLS)
    mark = round(moment.target / 100 * _BAR_CELLS)
    bar = "█" * filled + "·" * (_BAR_CELLS - filled)
    return bar[:mark] + "│" + bar[mark:]
