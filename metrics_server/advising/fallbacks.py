"""Events on HPAs whose metrics fall back, fail, and recover.

The HPA controller emits an event when it gets an error. It cannot know that a value was not
measured.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from metrics_server.advising.regarding import regarding
from metrics_server.advising.targets import about
from metrics_server.errors import RequestError
from metrics_server.kube.autoscalers import Autoscaler, AutoscalerMetric
from metrics_server.kube.events import EventType, Regarding
from metrics_server.kube.label_selectors import joined
from metrics_server.kube.labels import Selector
from metrics_server.kube.workloads import KINDS, Kind
from metrics_server.measuring.incidents import Change
from metrics_server.measuring.samples import Question

FallbackReason = Literal[
    "LastKnownValue", "SimulatedValue", "MeasurementFailed", "MeasurementRecovered"
]
"""The reason of the event."""

# If more wait at once, the oldest are dropped: they are hints.
_MAX_WAITING = 1000
# The pause between events, so that many at once do not burden the Kubernetes API.
_EVENT_SECONDS = 0.1
_MINUTE = 60
_KINDS = {one.kind: one for one in KINDS.values()}


class Emitter(Protocol):
    """The method of `kube.events.Events` that is needed here."""

    async def occurred(
        self, kind: EventType, regarding: Regarding, reason: str, about: str, message: str
    ) -> bool:
        """Emit an event about something that may happen repeatedly."""
        ...


class Objects(Protocol):
    """The method of `kube.workloads.Workloads` that is needed here."""

    async def selector(self, kind: Kind, namespace: str, name: str) -> Selector:
        """Return the selector of an object's pods, or raise a RequestError."""
        ...


class FallbackEvents:
    """Emits an event on each HPA that asks the question of an incident.

    Args:
        hpas: returns the HPAs of a namespace.
        objects: knows which pods an object selects.
        events: where to emit events.
    """

    def __init__(
        self, hpas: Callable[[str], Iterable[Autoscaler]], objects: Objects, events: Emitter
    ) -> None:
        self._hpas = hpas
        self._objects = objects
        self._events = events
        self._waiting: deque[Change] = deque(maxlen=_MAX_WAITING)
        self._wake = asyncio.Event()

    def turn(self, change: Change) -> None:
        """Record a turn in an incident."""
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
            for metric in [one for one in hpa.metrics if await self._asks(hpa, one, change)]:
                name = about(metric)
                kind: EventType = "Normal" if change.is_end else "Warning"
                reason, message = _described(name, change)
                await self._events.occurred(kind, regarding(hpa), reason, name, message)
                await asyncio.sleep(_EVENT_SECONDS)

    async def _asks(self, hpa: Autoscaler, metric: AutoscalerMetric, change: Change) -> bool:
        """Return whether the controller asks the incident's question for a metric of an HPA.

        A question for a Pods metric has the selector of a workload, which an HPA does not contain:
        the pods show which workload that is. A question for an Object metric has the selector of
        its object, which may be a Service for any of the pods, so the selector is read.
        """
        question = change.question
        if metric.name.lower() != question.metric or metric.series != question.series:
            return False
        match question.form:
            case "labelled":
                return metric.type == "External" and _same(metric.selector, question.selector)
            case "pods":
                return metric.type == "Pods" and hpa.target in change.workloads
            case "plain":
                return metric.type == "Object" and await self._describes(metric, question)

    async def _describes(self, metric: AutoscalerMetric, question: Question) -> bool:
        """Return whether a question is about the pods of an Object metric's object."""
        named, _, name = metric.described.partition("/")
        selector = Selector()
        if named != "Namespace":
            kind = _KINDS.get(named)
            if kind is None:
                return False
            try:
                selector = await self._objects.selector(kind, question.namespace, name)
            except RequestError:
                return False  # it has just been deleted, or cannot be read at the moment
        elif name != question.namespace:
            return False
        return _same(joined(selector, metric.selector), question.selector)


def _same(one: Selector, other: Selector) -> bool:
    return set(one.requirements) == set(other.requirements)


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
