"""The demo's flags, and its durations."""

from typing import Literal

from msgspec import Struct

Signal = Literal["utilization", "queue"]
MetricType = Literal["pods", "external"]
FaultName = Literal[
    "exporter-down",
    "exporter-slow",
    "exporter-error",
    "exporter-garbage",
    "no-pod-labels",
    "one-exporter-down",
]

TARGET_PERCENT = 70
"""The HPA's target of GPU utilization."""

TARGET_WAITING = 2
"""The HPA's target of requests waiting in each pod."""

TARGET_HELD = 4
"""Its target of requests that the gateway holds for each pod."""

TARGET_IN_FLIGHT = 8
"""Its target of requests in flight for each pod: an engine's whole batch."""


class DemoOptions(Struct, frozen=True):
    """The flags of `demo`.

    Attributes:
        duration: in seconds; None to run until interrupted.
        nodes: simulated nodes, each with GPUS_PER_NODE GPUs.
        port: of the server; 0 for any free one.
        signal: what the HPA scales on.
        fault: the fault of the exporters in the middle third of the demo; only with GPU
            utilization.
        metric_type: the type of the HPA's metric.
        page: whether to serve the page that shows the demo in a browser.
        open: whether to serve it, and open it.
        page_port: the page's port; 0 for any free one; None for a fixed one, if that is free.
    """

    duration: float | None = None
    nodes: int = 3
    port: int = 0
    signal: Signal = "utilization"
    fault: FaultName | None = None
    metric_type: MetricType = "pods"
    page: bool = False
    open: bool = False
    page_port: int | None = None

    @property
    def one_exporter(self) -> bool:
        """Whether only one of the exporters has the fault."""
        return self.fault == "one-exporter-down" and self.nodes > 1


class Tempo(Struct, frozen=True, kw_only=True):
    """Durations in seconds, shorter than in a real cluster, as a person is watching.

    Attributes:
        sync: between two requests of the HPA; 15 in a real cluster.
        stabilization: behavior.scaleDown.stabilizationWindowSeconds; 300 by default.
        loading: how long a new pod loads its model.
        deleting: how long a deleted pod is terminating.
        period: of the swings of the demand.
        busy: how long there are requests, for the queue.
        quiet: how long there are none after that.
        service: how long an engine takes for a request.
        max_age: exporters.maxAge of the server; 2 by default.
        timeout: exporters.timeout of the server; 2 by default.
        last_known: fallback.lastKnownMaxAge of the server; 60 by default.
        open_ended: the duration that a fault is timed by, if the demo has no duration.
    """

    sync: float = 1
    stabilization: float = 8
    loading: float = 2
    deleting: float = 1
    period: float = 30
    busy: float = 20
    quiet: float = 20
    service: float = 2
    max_age: float = 0.5
    timeout: float = 1
    last_known: float = 4
    open_ended: float = 60


def fault_times(options: DemoOptions, tempo: Tempo) -> tuple[float, float]:
    """Return when the fault begins and ends, in seconds: it lasts for the middle third."""
    whole = tempo.open_ended if options.duration is None else options.duration
    return whole / 3, whole * 2 / 3
