"""What is answered without a measurement: the last one, a simulated one, or the error.

Either value stands for work, not for intensity. The HPA multiplies a mean by the count of Ready
pods, so that a repeated 90 % would grow the workload again with each pod that it adds. Scaled by
(pods then / pods now) it asks for the same replicas each time.
"""

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import floor
from typing import Literal

from cachetools import TTLCache
from msgspec import Struct, structs

from metrics_server.errors import MeasurementMissingError
from metrics_server.rules import MetricRule
from metrics_server.samples import Answer, Question

FallbackKind = Literal["last-known", "simulated", "error"]

# Questions remembered at most: far above the number of HPAs of the largest clusters.
_MAX_REMEMBERED = 10_000
# For how long a question is remembered that nobody asks. An HPA asks every 15 s.
_FORGOTTEN_AFTER = 600.0
# A scaled value has the precision of a Quantity in thousandths, so that it stands for the same work
# to the HPA, however many pods there are.
_EXACT = 3


class Simulated(Struct, frozen=True):
    """The simulated utilization: from `base` to `base + spread` percent."""

    base: float = 60
    spread: float = 30


class _Memory(Struct, frozen=True):
    """What is known of a question when it has no measurement.

    Attributes:
        pods: how many Ready pods it had when it was last measured, or when it was first asked.
        measured: the last measurement; None if there was none.
        measured_at: when that was, by the monotonic clock.
        repeated: whether the measurement was repeated since.
    """

    pods: int
    measured: Answer | None = None
    measured_at: float = 0
    repeated: bool = False


class FallbackChain:
    """Tries one kind of fallback after the other; where none has an answer, the error stands.

    Args:
        kinds: which, in order; "error" ends the chain.
        last_known_max_age: how old a measurement may be to be repeated, in seconds.
        simulated: the range of simulated values.
        clock: seconds, on a clock that never goes back.
        wall_clock: seconds since the epoch, for the timestamps of simulated values.
    """

    def __init__(
        self,
        kinds: Sequence[FallbackKind],
        *,
        last_known_max_age: float,
        simulated: Simulated,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._kinds = kinds
        self._simulated = simulated
        self._clock = clock
        self._wall_clock = wall_clock
        self._max_age = last_known_max_age
        self._memory: TTLCache[Question, _Memory] = TTLCache(
            _MAX_REMEMBERED, max(_FORGOTTEN_AFTER, last_known_max_age), timer=clock
        )

    def remember(self, question: Question, answer: Answer, pods: int) -> None:
        """Keep a measurement, for a time when the same question has none.

        Args:
            question: as it was asked.
            answer: the measurement.
            pods: how many Ready pods it was about.
        """
        self._memory[question] = _Memory(pods, answer, self._clock())

    def replace(
        self, question: Question, rule: MetricRule, pods: int, missing: MeasurementMissingError
    ) -> Answer:
        """The first answer that the chain has for a question without a measurement.

        Args:
            question: as it was asked.
            rule: of its metric.
            pods: how many Ready pods it is about now; at least 1.
            missing: why there is no measurement.

        Raises:
            MeasurementMissingError: `missing` itself, where the chain has no answer.
        """
        memory = self._memory.get(question) or _Memory(pods)
        try:
            for kind in self._kinds:
                if kind == "error":
                    break
                if kind == "last-known":
                    answer = self._repeat(memory, rule, pods)
                    if answer is not None:
                        memory = structs.replace(memory, repeated=True)
                else:
                    answer = self._simulate(memory, question, rule, pods)
                if answer is not None:
                    return answer
            raise missing
        finally:
            # Stored again with each question, it lasts for as long as the question is asked.
            self._memory[question] = memory

    def _repeat(self, memory: _Memory, rule: MetricRule, pods: int) -> Answer | None:
        """The last measurement, with the time of its samples; None where it is too old.

        A sum is work already. A mean is scaled; an extreme or a percentile cannot be, and so it
        holds only while no pods were added that it would be multiplied by.
        """
        known = memory.measured
        if known is None or self._clock() - memory.measured_at > self._max_age:
            return None
        last = structs.replace(known, origin="last-known")
        if rule.over_pods == "sum" or pods == memory.pods:
            return last
        if rule.over_pods != "avg":
            return last if pods < memory.pods else None
        value = _as_answered(known)
        scaled = min(value * memory.pods / pods, max(value, rule.maximum))
        return structs.replace(last, value=scaled, decimals=_EXACT)

    def _simulate(
        self, memory: _Memory, question: Question, rule: MetricRule, pods: int
    ) -> Answer | None:
        """A simulated value, drawn for the pods there were when the measurement was lost.

        Where scaling takes it out of the range of simulated values, there is none: the error keeps
        the replicas. The same goes once the last measurement was repeated and the pods have changed
        since: it has moved the workload, and an outage moves a workload once. Only a percentage of
        one GPU can be simulated.
        """
        if rule.unit != "percent" or rule.over_gpus == "sum":
            return None
        if memory.repeated and pods != memory.pods:
            return None
        low, spread = self._simulated.base, self._simulated.spread
        drawn = low + min(spread, floor((spread + 1) * _draw(question)))
        scaled = drawn * memory.pods / pods
        if not low <= scaled <= low + spread:
            return None
        return Answer(
            value=drawn * memory.pods if rule.over_pods == "sum" else scaled,
            decimals=rule.decimals if pods == memory.pods else _EXACT,
            timestamp=self._wall_clock(),
            origin="simulated",
            covered=0,
            asked=0,
        )


def _as_answered(answer: Answer) -> float:
    """The value that the HPA was given: rounded, half up."""
    unit: int = 10**answer.decimals
    return floor(answer.value * unit + 0.5) / unit


def _draw(question: Question) -> float:
    """A number from 0 up to 1 that is the same for a question whenever and wherever it is drawn.

    Requests reach any replica of the server, and two draws would move a workload twice.
    """
    text = f"{question.namespace}/{question.metric}?{question.selector}"
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
