"""The replacement for a missing measurement: the last one, a simulated one, or the error.

Either value represents work, not intensity. The HPA multiplies a mean by the number of Ready
pods, so a repeated 90 % would grow the workload again with every pod it adds. Scaled by
(pods then / pods now), it yields the same replicas each time.
"""

import time
from collections.abc import Callable, Sequence
from math import floor
from typing import Literal

from cachetools import TTLCache
from msgspec import Struct, structs

from metrics_server.common.clock import time_of_day
from metrics_server.errors import MeasurementMissingError
from metrics_server.measuring.aggregation import EXACT, rounded, spread
from metrics_server.measuring.samples import Answer, Question
from metrics_server.measuring.selection import Selection
from metrics_server.rules.model import MetricRule

FallbackKind = Literal["last-known", "simulated", "error"]

# The most questions remembered: far more than the HPAs of the largest clusters.
_MAX_REMEMBERED = 10_000
# How long an unasked question is remembered. An HPA asks every 15 s.
_FORGOTTEN_AFTER = 600.0


class Simulated(Struct, frozen=True):
    """The simulated utilization: from `base` to `base + spread` percent."""

    base: float = 60
    spread: float = 30


class _Memory(Struct, frozen=True):
    """The memory of a question, for when it has no measurement.

    Attributes:
        ready: how many Ready pods it had when it was last measured. If it never was, when it was
            first asked, without pods added recently: another replica of the server may have
            answered earlier and scaled the workload already.
        replicas: how many pods it had then, Ready or not.
        measured: the last measurement; None if there was none.
        measured_at: when, by the monotonic clock.
    """

    ready: int
    replicas: int
    measured: Answer | None = None
    measured_at: float = 0


class FallbackChain:
    """Tries the kinds of fallback in order; without an answer from any, the error remains.

    Args:
        kinds: which, in order; "error" ends the chain.
        last_known_max_age: how old a measurement may be to be repeated, in seconds.
        simulated: the range of simulated values.
        clock: seconds, on a monotonic clock.
    """

    def __init__(
        self,
        kinds: Sequence[FallbackKind],
        *,
        last_known_max_age: float,
        simulated: Simulated,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kinds = kinds
        self._simulated = simulated
        self._clock = clock
        self._max_age = last_known_max_age
        self._memory: TTLCache[bytes, _Memory] = TTLCache(
            _MAX_REMEMBERED, max(_FORGOTTEN_AFTER, last_known_max_age), timer=clock
        )

    def remember(self, question: Question, answer: Answer, pods: Selection) -> None:
        """Remember a measurement for when the same question has none.

        Args:
            question: the question.
            answer: the measurement.
            pods: the pods it covers.
        """
        self._memory[question.digest] = _Memory(pods.ready, pods.replicas, answer, self._clock())

    def replace(
        self,
        question: Question,
        rule: MetricRule,
        pods: Selection,
        missing: MeasurementMissingError,
    ) -> Answer:
        """The first answer in the chain that the question's form allows.

        An answer that has no labels is never simulated, since nothing would mark it. For single
        pods there is no fallback: the HPA controller itself allows for pods without a value.

        Args:
            question: the question.
            rule: the metric's rule.
            pods: the pods selected now.
            missing: why there is no measurement.

        Raises:
            MeasurementMissingError: `missing` itself, if the chain has no answer.
        """
        if question.form == "pods":
            raise missing
        memory = self._memory.get(question.digest) or _Memory(
            *pods.settled(time_of_day(self._clock()))
        )
        try:
            for kind in self._kinds:
                if kind == "error":
                    break
                if kind == "simulated" and question.form == "plain":
                    continue
                if kind == "last-known":
                    answer = self._repeat(memory, rule, pods.ready)
                else:
                    answer = self._simulate(memory, question, rule, pods)
                if answer is not None:
                    return answer
            raise missing
        finally:
            # Stored again each time, so it lasts as long as the question is asked.
            self._memory[question.digest] = memory

    def _repeat(self, memory: _Memory, rule: MetricRule, ready: int) -> Answer | None:
        """The last measurement, with the time of its samples; None if it is too old.

        A sum already is work. A mean is scaled, up to what a pod can have. An extreme or a
        percentile cannot be scaled, so it is valid only as long as no pods are added that it would
        be multiplied by.
        """
        known = memory.measured
        if known is None or self._clock() - memory.measured_at > self._max_age:
            return None
        last = structs.replace(known, source="last-known")
        if rule.over_pods == "sum" or ready == memory.ready:
            return last
        if rule.over_pods != "avg":
            return last if ready < memory.ready else None
        value = rounded(known.value, known.decimals)
        scaled = min(spread(value, memory.ready, ready), max(value, known.ceiling))
        return structs.replace(last, value=scaled, decimals=EXACT)

    def _simulate(
        self, memory: _Memory, question: Question, rule: MetricRule, pods: Selection
    ) -> Answer | None:
        """A simulated value for the pods that existed when the measurement was lost.

        None if scaling takes it out of the range of simulated values: the error keeps the
        replicas. Pods that are not Ready yet count too, because the HPA has already requested
        them. None either if the workload was scaled since its last measurement: an outage moves a
        workload only once. Only a percentage of one GPU can be simulated, and none for a series
        selector: which pods it would be for is not known.
        """
        if (
            question.series
            or rule.measures != "gpus"
            or rule.unit != "percent"
            or rule.over_gpus == "sum"
        ):
            return None
        if memory.measured is not None and pods.replicas != memory.replicas:
            return None
        low, width = self._simulated.base, self._simulated.spread
        drawn = low + min(width, floor((width + 1) * _draw(question)))
        for then, now in ((memory.ready, pods.ready), (memory.replicas, pods.replicas)):
            if not low <= drawn * then / now <= low + width:
                return None
        value, decimals = drawn, rule.decimals
        if rule.over_pods == "sum":
            value = drawn * memory.ready
        elif pods.ready != memory.ready:
            value, decimals = spread(drawn, memory.ready, pods.ready), EXACT
        return Answer(
            value=value,
            decimals=decimals,
            timestamp=self._clock(),
            source="simulated",
            covered=0,
            selected=0,
        )


def _draw(question: Question) -> float:
    """A number from 0 up to 1 that is the same for a question at any time, in any replica.

    Requests reach any replica of the server; two different draws would move a workload twice.
    """
    return int.from_bytes(question.digest[:6]) / 2**48
