"""What the demo shows after one sync of the HPA: a row of its table, or a line."""

from typing import ClassVar, NamedTuple, Protocol

from msgspec import Struct

_BAR_CELLS = 16
_STYLES = {"exporters": "", "pods": "", "last-known": "yellow", "simulated": "magenta"}


class Column(NamedTuple):
    """A column of the table: its header, and whether it is aligned to the right."""

    header: str
    right: bool = False


class Moment(Protocol):
    """A moment, of either demo."""

    title: ClassVar[str]
    """Of the table."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the table."""
        ...

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        ...

    @property
    def line(self) -> str:
        """The same and the HPA's reason, where there is no table."""
        ...

    @property
    def style(self) -> str:
        """The style of the row."""
        ...

    @property
    def reason(self) -> str:
        """The HPA's reason for its decision."""
        ...


class UtilizationMoment(Struct, frozen=True):
    """The state after a sync of an HPA that scales on GPU utilization.

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

    title: ClassVar[str] = "GPU utilization scales a Deployment (only the server is real)"

    seconds: float
    demand: float
    utilization: float | None
    target: float
    ready: int
    replicas: int
    source: str
    pods: str
    reason: str

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the table."""
        return (
            Column("TIME", right=True),
            Column("DEMAND", right=True),
            Column("UTIL", right=True),
            Column(f"│ TARGET {self.target:.0f} %"),
            Column("REPLICAS"),
            Column("SOURCE, PODS"),
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        time, demand, utilization, replicas, source = self._texts()
        bar = _bar((self.utilization or 0) / 100, self.target / 100)
        return time, demand, utilization, bar, replicas, source

    @property
    def line(self) -> str:
        """The same and the HPA's reason, where there is no table."""
        time, demand, utilization, replicas, source = self._texts()
        return (
            f"{time:>5}  demand {demand:>9}  utilization {utilization:>7} of "
            f"{self.target:.0f} %  replicas {replicas:<11}  source {source:<16}  {self.reason}"
        )

    @property
    def style(self) -> str:
        """The style of the row."""
        return _STYLES.get(self.source, "red")

    def _texts(self) -> tuple[str, str, str, str, str]:
        return (
            f"{self.seconds:.0f} s",
            f"{self.demand / 100:.1f} GPUs",
            "unknown" if self.utilization is None else f"{self.utilization:.0f} %",
            f"{self.ready}/{self.replicas} ready",
            f"{self.source} {self.pods}".rstrip(),
        )


class QueueMoment(Struct, frozen=True):
    """The state after a sync of an HPA that scales on the queue.

    Attributes:
        seconds: since the start.
        arrivals: requests per second.
        waiting: requests waiting in each pod; None without a value.
        target: the HPA's target for them.
        utilization: of the pods' GPUs, in percent; None without a value.
        held: requests that the gateway holds; None without a value.
        ready: Ready pods.
        replicas: requested pods.
        source: where `waiting` came from, or "error".
        reason: the HPA's reason for its decision.
    """

    title: ClassVar[str] = (
        "The queue scales a Deployment, to zero and back (only the server is real)"
    )

    seconds: float
    arrivals: float
    waiting: float | None
    target: float
    utilization: float | None
    held: int | None
    ready: int
    replicas: int
    source: str
    reason: str

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the table."""
        return (
            Column("TIME", right=True),
            Column("LOAD", right=True),
            Column("GPU UTIL", right=True),
            Column("WAITING", right=True),
            Column(f"│ TARGET {self.target:.0f}"),
            Column("GATEWAY", right=True),
            Column("READY", right=True),
        )

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        time, arrivals, utilization, waiting, held, replicas = self._texts()
        # The target is a quarter of the bar: a queue has no end.
        bar = _bar(min(1, (self.waiting or 0) / self.target / 4), 1 / 4)
        return time, arrivals, utilization, waiting, bar, held, replicas

    @property
    def line(self) -> str:
        """The same and the HPA's reason, where there is no table."""
        time, arrivals, utilization, waiting, held, replicas = self._texts()
        return (
            f"{time:>5}  load {arrivals:>6}  GPU utilization {utilization:>7}  "
            f"waiting {waiting:>7} of {self.target:.0f}  at the gateway {held:>7}  "
            f"replicas {replicas:>5} ready  {self.reason}"
        )

    @property
    def style(self) -> str:
        """The style of the row: without a Ready pod there can be no value of pods."""
        return _STYLES.get(self.source, "red") if self.ready and self.replicas else "yellow"

    def _texts(self) -> tuple[str, str, str, str, str, str]:
        none = "unknown" if self.ready and self.replicas else "no pod"
        return (
            f"{self.seconds:.0f} s",
            f"{self.arrivals:.1f}/s",
            none if self.utilization is None else f"{self.utilization:.0f} %",
            none if self.waiting is None else f"{self.waiting:.1f}",
            "unknown" if self.held is None else f"{self.held}",
            f"{self.ready}/{self.replicas}",
        )


def _bar(filled: float, mark: float) -> str:
    """Draw a bar of which a part is filled, with a mark at the target."""
    cells, at = round(filled * _BAR_CELLS), round(mark * _BAR_CELLS)
    bar = "█" * cells + "·" * (_BAR_CELLS - cells)
    return bar[:at] + "│" + bar[at:]
