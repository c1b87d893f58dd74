"""Pods and items of a Pods metric."""

from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    Answer,
    Decision,
    History,
    HorizontalPodAutoscaler,
    Item,
    PodsMetric,
    Scale,
    ScaledPod,
)

METRIC = PodsMetric("gpu_utilization", target=50_000)
HPA = HorizontalPodAutoscaler(
    namespace="default", metrics=(METRIC,), max_replicas=100, stabilization_window=0
)
NO_METRICS = (
    "unable to get metric gpu_utilization: no metrics returned from custom metrics API",
    "did not receive metrics for targeted pods (pods might be unready)",
    "no pods returned by selector while calculating replica count",
)

RUNNING = tuple(ScaledPod(name) for name in ("a", "b", "c", "d"))

PENDING = ScaledPod("e", "Pending", ready=False)
TERMINATING = ScaledPod("e", terminating=True)


def items(**units: int) -> tuple[Item, ...]:
    """An answer with an item for each of these pods, in whole units."""
    return tuple(Item(value * 1000, name) for name, value in units.items())


def scale_of(*scaled: ScaledPod, replicas: int | None = None) -> Scale:
    """A scale with these pods, and the same number requested."""
    count = len(scaled) if replicas is None else replicas
    return Scale(count, len(scaled), scaled)


def first(scale: Scale, answer: Answer) -> Decision:
    """The first decision of a controller, at time 0."""
    return decide(HPA, scale, (answer,), History(), 0)
