"""The page's data, as JSON: values only."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from metrics_server.simulator.demo.options import MetricType
from metrics_server.simulator.faults import FaultKind

Mark = Literal["sourced", "target", "line", "step", "area"]
PodState = Literal["ready", "loading", "terminating"]


class Series(Struct, frozen=True, rename="camel"):
    """A line of a chart.

    Attributes:
        key: of its values in a `Point`.
        label: its name in the legend.
        mark: how it is drawn. "sourced" lines show where each value came from.
    """

    key: str
    label: str
    mark: Mark


class Chart(Struct, frozen=True, rename="camel"):
    """A chart over time.

    Attributes:
        title: its title.
        unit: of its values; may be empty.
        maximum: the end of its axis; None for one that follows the values.
        series: its lines, those in front last.
    """

    title: str
    unit: str
    maximum: float | None
    series: Sequence[Series]


class Point(Struct, frozen=True, rename="camel"):
    """The values of the charts after one sync.

    Attributes:
        seconds: since the start.
        source: where the HPA's metric came from; "error", or "no-pods" if there is no Ready pod.
        values: by the keys of the series; None is a gap.
    """

    seconds: float
    source: str
    values: Mapping[str, float | None]


class Step(Struct, frozen=True, rename="camel"):
    """A step of the loop, from the load to the replicas.

    Attributes:
        name: its name.
        value: its value now, as text; empty without one.
        unit: of the value; may be empty.
        note: a few words about it.
        source: the same as that of the `Point`, if it matters; empty if it does not.
    """

    name: str
    value: str
    unit: str
    note: str
    source: str = ""


class Verdict(Struct, frozen=True, rename="camel"):
    """A decision of the HPA.

    Attributes:
        seconds: since the start.
        before: the replicas before it.
        after: the replicas after it.
        source: where its metric came from, as in the `Point`.
        reason: its arithmetic.
        news: whether it changes the replicas, or its metric has another source than before.
    """

    seconds: float
    before: int
    after: int
    source: str
    reason: str
    news: bool


class Tile(Struct, frozen=True, rename="camel"):
    """A pod.

    Attributes:
        name: its name.
        state: its state.
        value: what the server measures of it now; None if it has no value.
    """

    name: str
    state: PodState
    value: float | None


class NodeView(Struct, frozen=True, rename="camel"):
    """A node.

    Attributes:
        name: its name.
        fault: of its exporter; None without one.
        scrapes: how many scrapes the exporter answered.
        pods: its pods; they take one GPU each.
    """

    name: str
    fault: FaultKind | None
    scrapes: int
    pods: Sequence[Tile]


class Controls(Struct, frozen=True, rename="camel"):
    """The current state of what can be changed.

    Attributes:
        load: a constant load; None while it varies by itself.
        fault: of exporters; None without one.
        exporters: how many exporters have it.
        metric_type: the type of the HPA's (first) metric.
        target: its target.
        min_replicas: spec.minReplicas.
        max_replicas: spec.maxReplicas.
        window: behavior.scaleDown.stabilizationWindowSeconds.
        scale_up_pods: pods that may be added in 15 s; None for the default policies.
    """

    load: float | None
    fault: FaultKind | None
    exporters: int
    metric_type: MetricType
    target: float
    min_replicas: int
    max_replicas: int
    window: float
    scale_up_pods: int | None


class Moment(Struct, frozen=True, rename="camel"):
    """Everything that the page shows after one sync.

    Attributes:
        point: for the charts.
        steps: the loop.
        verdict: the HPA's decision.
        questions: the paths that the HPA requested.
        nodes: the nodes with their pods.
        controls: the current state of what can be changed.
    """

    point: Point
    steps: Sequence[Step]
    verdict: Verdict
    questions: Sequence[str]
    nodes: Sequence[NodeView]
    controls: Controls


class Bounds(Struct, frozen=True, rename="camel"):
    """The values that the controls accept.

    Attributes:
        load_unit: the unit of the load.
        load_maximum: its end.
        load_step: its step.
        faults: the faults to offer; none if there is no exporter whose fault could matter.
        metric_types: the types of the HPA's metric, with what to know about each.
        target_maximum: the greatest target.
        least_replicas: the least minReplicas.
        most_replicas: the greatest maxReplicas.
        most_window: the longest stabilization window.
    """

    load_unit: str
    load_maximum: float
    load_step: float
    faults: Sequence[FaultKind]
    metric_types: Mapping[MetricType, str]
    target_maximum: float
    least_replicas: int
    most_replicas: int
    most_window: float


class Setup(Struct, frozen=True, rename="camel"):
    """The data that stays the same while the demo runs.

    Attributes:
        run: a name for this run of the demo.
        title: what it shows.
        metric: the name of the HPA's (first) metric.
        interval: the seconds between two syncs.
        duration: after how many seconds it ends; None if it runs until interrupted.
        gpus_per_node: the GPUs of each node.
        sources: the sources other than measurements, with their descriptions.
        charts: the charts.
        tile_label: what a pod's value is.
        tile_unit: its unit.
        tile_maximum: the value that fills a pod's bar; None for four times the target.
        bounds: what the controls accept.
    """

    run: str
    title: str
    metric: str
    interval: float
    duration: float | None
    gpus_per_node: int
    sources: Mapping[str, str]
    charts: Sequence[Chart]
    tile_label: str
    tile_unit: str
    tile_maximum: float | None
    bounds: Bounds


class Past(Struct, frozen=True, rename="camel"):
    """What happened before a page connected.

    Attributes:
        points: the last points.
        verdicts: the last decisions that were news.
        moment: the last moment; None before the first sync.
    """

    points: Sequence[Point]
    verdicts: Sequence[Verdict]
    moment: Moment | None


class End(Struct, frozen=True, rename="camel"):
    """The end of the demo.

    Attributes:
        summary: what happened.
    """

    summary: str
