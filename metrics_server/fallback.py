"""What is answered where there is no measurement: the last one, a simulated one, or none."""

from collections.abc import Callable, Sequence
from typing import Literal

from cachetools import TTLCache
from msgspec import Struct, structs

from metrics_server.errors import MeasurementMissingError
from metrics_server.rules import MetricRule
from metrics_server.samples import Answer, Question

FallbackKind = Literal["last-known", "simulated", "error"]

# Questions remembered at most: far above the number of HPAs of the largest clusters.
_MAX_REMEMBERED = 10_000


class Simulated(Struct, frozen=True):
    """The simulated utilization: from `base` to `base + variance` percent, evenly spread."""

    base: float = 60
    variance: float = 30


class FallbackChain:
    """Tries one kind of fallback after the other; where none can answer, the error stands.

    Args:
        kinds: which, in order; "error" ends the chain.
        last_known_max_age: how old a real value may be to be told again, in seconds.
        simulated: the range of simulated values.
        clock: seconds since the epoch.
        random: a number from 0 up to 1.
    """

    def __init__(
        self,
        kinds: Sequence[FallbackKind],
        *,
        last_known_max_age: float,
        simulated: Simulated,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._kinds = kinds
        self._simulated = simulated
        self._clock = clock
        self._random = random
        self._max_age = last_known_max_age
        self._last_known: TTLCache[Question, Answer] = TTLCache(
            _MAX_REMEMBERED, last_known_max_age, timer=clock
        )

    def remember(self, question: Question, answer: Answer) -> None:
        """Keep a real answer, for a time when the same question has none."""
        self._last_known[question] = answer

    def replace(
        self, question: Question, rule: MetricRule, pods: int, missing: MeasurementMissingError
    ) -> Answer:
        """The first answer that the chain has for a question without a measurement.

        A last-known answer keeps the time of its samples. Only a percentage of one GPU can be
        simulated: the chain passes over "simulated" for any other unit, and for a sum over GPUs.
        A sum over pods is simulated as that many times the utilization of one.

        Args:
            question: as it was asked.
            rule: of its metric.
            pods: how many pods were asked about.
            missing: why there is no measurement.

        Raises:
            MeasurementMissingError: `missing` itself, where the chain has no answer.
        """
        for kind in self._kinds:
            if kind == "error":
                break
            if kind == "last-known":
                known = self._last_known.get(question)
                if known is not None and self._clock() - known.timestamp <= self._max_age:
                    return structs.replace(known, origin="last-known")
            elif rule.unit == "percent" and rule.over_gpus != "sum":
                value = self._simulated.base + self._simulated.variance * self._random()
                return Answer(
                    value=value * pods if rule.over_pods == "sum" else value,
                    decimals=rule.decimals,
                    timestamp=self._clock(),
                    origin="simulated",
                    covered=0,
                    asked=0,
                )
        raise missing
