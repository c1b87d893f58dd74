"""Incidents: from the first answer of a question that has no measurement until it has one again.

An HPA repeats its question every 15 seconds, so an exporter that is down for a day would fill the
log. Instead an incident is logged when it begins, when something about it changes, every few
minutes while it lasts, and when it ends.
"""

import time
from collections.abc import Callable, Iterable, Sequence

import structlog
from cachetools import TTLCache
from msgspec import Struct

from metrics_server.common.rates import Rate, Rates
from metrics_server.errors import MeasurementMissingError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Form, Question

_REMINDER_SECONDS = 300.0
# The incident of a question that is no longer asked is forgotten.
_FORGOTTEN_AFTER = 600.0
_MAX_OPEN = 10_000
# How many begin in a namespace, and in total: a caller can use any number of selectors. Further
# ones are only counted, and begin later if their questions are still asked.
_EACH, _TOTAL = Rate(per_second=1, burst=300), Rate(per_second=20, burst=3000)

log = structlog.stdlib.get_logger(__name__)


class Change(Struct, frozen=True):
    """A turn in an incident.

    Attributes:
        question: the question.
        workloads: the kinds and names of the workloads whose pods are selected now.
        answered: what it was answered with: the answer's `source`, or "error".
        error: why there is no measurement, as a sentence; "" when the incident ends.
        seconds: how long the incident has lasted.
    """

    question: Question
    workloads: frozenset[str]
    answered: str
    error: str
    seconds: float

    @property
    def is_end(self) -> bool:
        """Whether the question has a measurement again."""
        return not self.error


class _Incident(Struct):
    since: float
    logged: float
    answers: int = 0
    known: set[tuple[str, str]] = set()


_Key = tuple[bytes, Form, str]


class Incidents:
    """The incidents of all questions, as one log line for each turn.

    Args:
        reminder: every how many seconds a lasting incident is logged again.
        clock: seconds, on a monotonic clock.
    """

    def __init__(
        self,
        *,
        reminder: float = _REMINDER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reminder = reminder
        self._clock = clock
        self._rates = Rates(each=_EACH, total=_TOTAL, clock=clock)
        self._open: TTLCache[_Key, _Incident] = TTLCache(_MAX_OPEN, _FORGOTTEN_AFTER, clock)
        self._listeners: list[Callable[[Change], None]] = []

    def follow(self, listener: Callable[[Change], None]) -> None:
        """Call a function at each turn of an incident; it must return at once."""
        self._listeners.append(listener)

    def missing(
        self,
        question: Question,
        pods: Sequence[Pod],
        answered: str,
        error: MeasurementMissingError,
    ) -> None:
        """A question has no measurement.

        Args:
            question: the question.
            pods: the pods that it selects.
            answered: what it is answered with: the answer's `source`, or "error".
            error: why there is no measurement.
        """
        now, key = self._clock(), _key(question)
        incident = self._open.get(key)
        if incident is None:
            if not self._rates.allow(question.namespace):
                return
            incident = _Incident(now, now)
        # Stored again each time, so it lasts as long as the question is asked.
        self._open[key] = incident
        incident.answers += 1
        turn = (answered, error.reason)
        is_turn = turn not in incident.known
        if not is_turn and now - incident.logged < self._reminder:
            return
        incident.logged = now
        incident.known.add(turn)
        seconds = now - incident.since
        log.warning(
            "Failed to get real metrics",
            answered=answered,
            **_named(question),
            reason=error.reason,
            error=str(error),
            **({"answers": incident.answers, "seconds": round(seconds)} if seconds else {}),
        )
        if is_turn:
            self._report(Change(question, _workloads(pods), answered, str(error), seconds))

    def measured(self, question: Question, pods: Sequence[Pod], source: str) -> None:
        """A question has a measurement.

        Args:
            question: the question.
            pods: the pods that it selects.
            source: the answer's.
        """
        if not self._open:
            return
        incident = self._open.pop(_key(question), None)
        if incident is None:
            return
        seconds = self._clock() - incident.since
        log.info(
            "real metrics are back",
            **_named(question),
            answers=incident.answers,
            seconds=round(seconds),
        )
        self._report(Change(question, _workloads(pods), source, "", seconds))

    def _report(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)


def _workloads(pods: Iterable[Pod]) -> frozenset[str]:
    return frozenset(pod.workload for pod in pods if pod.workload)


def _key(question: Question) -> _Key:
    return question.digest, question.form, question.pod


def _named(question: Question) -> dict[str, str]:
    return {
        "metric": question.metric,
        "namespace": question.namespace,
        "selector": ",".join(filter(None, map(str, (question.selector, question.series)))),
    }
