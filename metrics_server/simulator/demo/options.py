"""The demo's flags, and its durations."""

from typing import Literal

from msgspec import Struct

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
"""The HPA's target."""


class DemoOptions(Struct, frozen=True):
    """The flags of `demo`.

    Attributes:
        duration: in seconds; None to run until interrupted.
        nodes: simulated nodes, each with GPUS_PER_NODE GPUs.
        port: of the server; 0 for any free one.
        fault: the fault of the exporters in the middle third of the demo.
        metric_type: the type of the HPA's metric.
    """

    duration: float | None = None
    nodes: int = 3
    port: int = 0
    fault: FaultName | None = None
    metric_type: MetricType = "pods"

    @property
    def one_exporter(self) -> bool:
        """Whether the fault is that of one exporter among others."""
        return self.fault == "one-exporter-down" and self.nodes > 1


class Tempo(Struct, frozen=True, kw_only=True):
    """Durations in seconds, shorter than in a real cluster, as a person is watching.

    Attributes:
        sync: between two requests of the HPA; 15 in a real cluster.
        stabilization: behavior.scaleDown.stabilizationWindowSeconds; 300 by default.
        loading: how long a new pod loads its model.
        deleting: how long a deleted pod is terminating.
        period: of the swings of the demand.
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
    max_age: float = 0.5
    timeout: float = 1
    last_known: float = 4
    open_ended: float = 60


def fault_times(options: DemoOptions, tempo: Tempo) -> tuple[float, float]:
    """Return when the fault begins and ends, in seconds: it lasts for the middle third."""
    whole = tempo.open_ended if options.duration is None else options.duration
    return whole / 3, whole * 2 / 3
