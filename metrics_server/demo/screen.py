"""What the demo shows: a live table in a terminal, plain lines elsewhere."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from msgspec import Struct

try:
    from rich.live import Live
    from rich.table import Table
except ImportError:  # the extra "demo" is not installed: plain lines do
    Live = None  # type: ignore[assignment,misc]  # told apart below

_ROWS = 14
_BAR_CELLS = 20
_HEADINGS = ("TIME", "DEMAND", "UTILIZATION", "TARGET", "REPLICAS", "SOURCE", "HPA")


class Moment(Struct, frozen=True):
    """What there is to show after one sync of the HPA.

    Attributes:
        seconds: since the start.
        demand: on the whole Deployment, in GPU-percent.
        utilization: the metric's value in percent; None where there was an error.
        target: what it should be, in percent.
        ready: pods that serve.
        replicas: pods that are asked for.
        source: where the value came from, as its metricLabels say, or "error".
        reason: what the HPA makes of it.
    """

    seconds: float
    demand: float
    utilization: float | None
    target: float
    ready: int
    replicas: int
    source: str
    reason: str

    def cells(self) -> tuple[str, ...]:
        """A cell for each heading."""
        utilization = "unknown" if self.utilization is None else f"{self.utilization:.0f} %"
        return (
            f"{self.seconds:.0f} s",
            f"{self.demand:.0f} %",
            utilization,
            f"{self.target:.0f} %",
            f"{self.ready}/{self.replicas} ready",
            self.source,
            self.reason,
        )


Show = Callable[[Moment], None]


@contextmanager
def screen(out: TextIO = sys.stdout) -> Iterator[Show]:
    """What shows a moment: in a terminal a table that moves, elsewhere a line."""
    if Live is None or not out.isatty():
        yield _plain(out)
        return
    moments: deque[Moment] = deque(maxlen=_ROWS)
    with Live(refresh_per_second=4) as live:

        def show(moment: Moment) -> None:
            moments.append(moment)
            live.update(_table(moments))

        yield show


def _plain(out: TextIO) -> Show:
    def show(moment: Moment) -> None:
        time, demand, utilization, target, replicas, source, reason = moment.cells()
        print(
            f"{time:>5}  demand {demand:>5}  utilization {utilization:>7} of {target}  "
            f"replicas {replicas:<10}  source {source:<10}  {reason}",
            file=out,
            flush=True,
        )

    return show


def _table(moments: deque[Moment]) -> "Table":
    table = Table(title="GPU utilization scales a Deployment (all but the server is simulated)")
    for heading in (*_HEADINGS[:3], "", *_HEADINGS[3:]):
        table.add_column(heading, no_wrap=heading != "HPA")
    for moment in moments:
        cells = moment.cells()
        table.add_row(*cells[:3], _bar(moment), *cells[3:], style=_style(moment))
    return table


def _bar(moment: Moment) -> str:
    filled = round((moment.utilization or 0) / 100 * _BAR_CELLS)
    mark = round(moment.target / 100 * _BAR_CELLS)
    bar = "█" * filled + "·" * (_BAR_CELLS - filled)
    return bar[:mark] + "│" + bar[mark:]


def _style(moment: Moment) -> str:
    return {"exporters": "", "last-known": "yellow", "simulated": "magenta"}.get(
        moment.source, "red"
    )
