"""What the page shows of each demo: its charts, the steps of its loop, its pods."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from metrics_server.simulator.autoscaling.hpa import Decision
from metrics_server.simulator.cluster import GPUS_PER_NODE, Cluster
from metrics_server.simulator.controller import Sync, metric_path
from metrics_server.simulator.demo.moments import QueueMoment, UtilizationMoment
from metrics_server.simulator.demo.queue import QueueScene
from metrics_server.simulator.demo.scene import Scene
from metrics_server.simulator.page.wire import (
    Bounds,
    Chart,
    Controls,
    Moment,
    NodeView,
    PodState,
    Point,
    Series,
    Setup,
    Step,
    Tile,
    Verdict,
)

_NO_VALUE = {"error": "no value"}
_FALLBACKS = {"last-known": "last known", "simulated": "simulated", **_NO_VALUE}
_REPLICAS = (
    Series("ready", "Ready pods", "area"),
    Series("replicas", "desired replicas", "step"),
)


class Seen(Struct, frozen=True):
    """The state after a sync.

    Attributes:
        moment: what the terminal shows.
        sync: the sync.
        pods: the milli-value of each pod that the server measures.
        controls: the current state of what can be changed.
        source_before: the source of the sync before; None at first.
    """

    moment: UtilizationMoment | QueueMoment
    sync: Sync
    pods: Mapping[str, int]
    controls: Controls
    source_before: str | None


def setup(scene: Scene, bounds: Bounds, run: str) -> Setup:
    """Return what stays the same while a demo runs."""
    queue = isinstance(scene, QueueScene)
    return Setup(
        run=run,
        title="The queue scales a Deployment" if queue else "GPU utilization scales a Deployment",
        metric=scene.hpa.metrics[0].name,
        interval=scene.tempo.sync,
        duration=scene.options.duration,
        gpus_per_node=GPUS_PER_NODE,
        sources=_NO_VALUE | {"no-pods": "no Ready pod"} if queue else _FALLBACKS,
        charts=_queue_charts(scene.cluster) if queue else _utilization_charts(scene.cluster),
        tile_label="requests waiting" if queue else "GPU utilization",
        tile_unit="" if queue else "%",
        tile_maximum=None if queue else 100,
        bounds=bounds,
    )


def _utilization_charts(cluster: Cluster) -> Sequence[Chart]:
    answer = Series("value", "the HPA's metric", "sourced")
    load = Series("load", "load, in GPUs", "line")
    return (
        Chart("GPU utilization", "%", 100, (Series("target", "target", "target"), answer)),
        Chart("Load and replicas", "", cluster.capacity, (*_REPLICAS, load)),
    )


def _queue_charts(cluster: Cluster) -> Sequence[Chart]:
    answer = Series("value", "the HPA's first metric", "sourced")
    target = Series("target", "target", "target")
    return (
        Chart("Requests waiting in each pod", "", None, (target, answer)),
        Chart("GPU utilization", "%", 100, (Series("utilization", "mean of the pods", "line"),)),
        Chart(
            "Requests",
            "",
            None,
            (Series("load", "new, per second", "line"), Series("held", "at the gateway", "step")),
        ),
        Chart("Replicas", "", cluster.capacity, _REPLICAS),
    )


def moment(scene: Scene, seen: Seen) -> Moment:
    """Return everything that the page shows after a sync."""
    shown, source = seen.moment, source_of(seen.moment)
    decision, before = seen.sync.decision, seen.sync.replicas
    verdict = Verdict(
        seconds=shown.seconds,
        before=before,
        after=decision.replicas,
        source=source,
        reason=decision.reason,
        news=before != decision.replicas or source != seen.source_before,
    )
    nodes = _nodes(scene.cluster, seen.pods)
    return Moment(
        point=_point(shown),
        steps=(*_first_steps(shown, seen, nodes), _decided(verdict, decision), _scaled(shown)),
        verdict=verdict,
        questions=[metric_path(scene.hpa.namespace, metric) for metric in scene.hpa.metrics],
        nodes=nodes,
        controls=seen.controls,
    )


def source_of(shown: UtilizationMoment | QueueMoment) -> str:
    """Return the source of the HPA's metric; an error without a Ready pod is none."""
    asleep = isinstance(shown, QueueMoment) and not (shown.ready and shown.replicas)
    return "no-pods" if asleep and shown.source == "error" else shown.source


def _point(shown: UtilizationMoment | QueueMoment) -> Point:
    values: dict[str, float | None] = {
        "target": shown.target,
        "ready": shown.ready,
        "replicas": shown.replicas,
    }
    if isinstance(shown, UtilizationMoment):
        values |= {"value": shown.utilization, "load": shown.demand / 100}
    else:
        values |= {
            "value": shown.waiting,
            "utilization": shown.utilization,
            "load": shown.arrivals,
            "held": shown.held,
        }
    return Point(shown.seconds, source_of(shown), values)


def _first_steps(
    shown: UtilizationMoment | QueueMoment, seen: Seen, nodes: Sequence[NodeView]
) -> Sequence[Step]:
    held = "varies by itself" if seen.controls.load is None else "held by you"
    if isinstance(shown, UtilizationMoment):
        load = Step("Load", f"{shown.demand / 100:.1f}", "GPUs", held)
        signal, unit, shape = "Utilization", "%", ".0f"
        value = shown.utilization
    else:
        load = Step("Load", f"{shown.arrivals:.1f}", "requests/s", held)
        signal, unit, shape = "Waiting", "a pod", ".1f"
        value = shown.waiting
    return (
        load,
        _measured(signal, unit, shape, nodes),
        _answered(value, unit, shape, shown, seen.sync),
    )


def _measured(name: str, unit: str, shape: str, nodes: Sequence[NodeView]) -> Step:
    ready = [pod.value for node in nodes for pod in node.pods if pod.state == "ready"]
    measured = [value for value in ready if value is not None]
    if not measured:
        return Step(name, "", "", "no pod is measured" if ready else "no pod is Ready")
    mean = sum(measured) / len(measured)
    return Step(name, f"{mean:{shape}}", unit, f"{len(measured)} of {len(ready)} pods measured")


def _answered(
    value: float | None,
    unit: str,
    shape: str,
    shown: UtilizationMoment | QueueMoment,
    sync: Sync,
) -> Step:
    reading, source = sync.readings[0], source_of(shown)
    if source == "no-pods":
        return Step("Answer", "", "", "without pods there is no value", source)
    if value is None or source == "error":
        return Step("Answer", "", "", "an error, and no number", "error")
    notes = {
        "exporters": f"measured, for {reading.pods} pods",
        "pods": f"measured, for {reading.pods} pods",
        "last-known": "the last measured value",
        "simulated": "made up: nothing is measured",
    }
    return Step("Answer", f"{value:{shape}}", unit, notes.get(source, source), source)


def _decided(verdict: Verdict, decision: Decision) -> Step:
    changed = verdict.before != verdict.after
    value = f"{verdict.before} → {verdict.after}" if changed else f"stays at {verdict.after}"
    unable = any(c.type == "ScalingActive" and c.status == "False" for c in decision.conditions)
    return Step("Decision", value, "", verdict.reason, "error" if unable else "")


def _scaled(shown: UtilizationMoment | QueueMoment) -> Step:
    return Step("Replicas", f"{shown.ready}", f"of {shown.replicas} Ready", _waiting(shown))


def _waiting(shown: UtilizationMoment | QueueMoment) -> str:
    if not shown.replicas and not shown.ready:
        return "scaled to zero"
    missing = shown.replicas - shown.ready
    if missing > 0:
        return "new pods load their model"
    return "old pods are terminating" if missing else "all pods serve"


def _nodes(cluster: Cluster, values: Mapping[str, int]) -> Sequence[NodeView]:
    tiles: dict[str, list[Tile]] = {exporter.node.name: [] for exporter in cluster.exporters}
    for pod, terminating in cluster.placed:
        state: PodState = "loading"
        if terminating:
            state = "terminating"
        elif pod.ready:
            state = "ready"
        value = values.get(pod.name)
        tiles[pod.node].append(Tile(pod.name, state, None if value is None else value / 1000))
    return tuple(
        NodeView(
            name=exporter.node.name,
            fault=None if exporter.fault is None else exporter.fault.kind,
            scrapes=exporter.scrapes,
            pods=tiles[exporter.node.name],
        )
        for exporter in cluster.exporters
    )
