"""Events on HPAs whose metrics fall back, fail, and recover.

The HPA controller emits an event when it gets an error. Of a value that is not measured, it
cannot know.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Literal, Protocol

from metrics_server.advising.regarding import regarding
from metrics_server.advising.targets import about
from metrics_server.kube.autoscalers import Autoscaler, AutoscalerMetric
from metrics_server.kube.events import EventType, Regarding
from metrics_server.measuring.incidents import Change
from metrics_server.measuring.samples import Question

FallbackReason = Literal[
    "LastKnownValue", "SimulatedValue", "MeasurementFailed", "MeasurementRecovered"
]
"""The reason of the event."""

# Of more at once, the oldest are dropped: they are hints.
_MAX_WAITING = 1000
# Between events, so that many at once are no burden for the Kubernetes API.
_EVENT_SECONDS = 0.1
_MINUTE = 60


class Emitter(Protocol):
    """The method of `kube.events.Events` that is needed here."""

    async def occurred(
        self, kind: EventType, regarding: Regarding, reason: str, about: str, message: str
    ) -> bool:
        """Emit an event about something that may happen repeatedly."""
        ...


class FallbackEvents:
    """Emits an event on each HPA that asks the question of an incident.

    Args:
        hpas: returns the HPAs of a namespace.
        events: where to emit events.
    """

    def __init__(self, hpas: Callable[[str], Iterable[Autoscaler]], events: Emitter) -> None:
        self._hpas = hpas
        self._events = events
        self._waiting: deque[Change] = deque(maxlen=_MAX_WAITING)
        self._wake = asyncio.Event()

    def turn(self, change: Change) -> None:
        """Take note of a turn in an incident."""
        self._waiting.append(change)
        self._wake.set()

    async def run(self) -> None:
        """Emit events until cancelled."""
        while True:
            self._wake.clear()
            while self._waiting:
                await self._emit(self._waiting.popleft())
                await asyncio.sleep(0)  # also if no HPA asks the question
            await self._wake.wait()

    async def _emit(self, change: Change) -> None:
        for hpa in self._hpas(change.question.namespace):
            for metric in _asking(hpa, change):
                name = about(metric)
                kind: EventType = "Normal" if change.is_end else "Warning"
                reason, message = _described(name, change)
                await self._events.occurred(kind, regarding(hpa), reason, name, message)
                await asyncio.sleep(_EVENT_SECONDS)


def _asking(hpa: Autoscaler, change: Change) -> Iterator[AutoscalerMetric]:
    """Return the metrics of an HPA for which the controller asks the question."""
    for metric in hpa.metrics:
        if metric.name.lower() == change.question.metric and _asks(
            metric, hpa.target, change.question, change.workloads
        ):
            yield metric


def _asks(
    metric: AutoscalerMetric, target: str, question: Question, workloads: AbstractSet[str]
) -> bool:
    """Return whether the controller asks the question for a metric of its name.

    The question of a Pods or an Object metric has the selector of a workload, which an HPA does
    not contain: the pods say which workload that is.
    """
    if metric.series != question.series:
        return False
    match question.form:
        case "labelled":
            return metric.type == "External" and (
                set(metric.selector.requirements) == set(question.selector.requirements)
            )
        case "pods":
            return metric.type == "Pods" and target in workloads
        case "plain":
            return metric.type == "Object" and metric.described in workloads


def _described(metric: str, change: Change) -> tuple[FallbackReason, str]:
    if change.is_end:
        return "MeasurementRecovered", f"{metric} is measured again, after {_span(change.seconds)}."
    match change.answered:
        case "last-known":
            reason: FallbackReason = "LastKnownValue"
            what = "is answered with its last known value"
        case "simulated":
            reason = "SimulatedValue"
            what = "is answered with a simulated value"
        case _:
            reason, what = "MeasurementFailed", "has no answer"
    return reason, f"{metric} {what}: {change.error}"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), _MINUTE)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
