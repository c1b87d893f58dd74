"""What is answered where there is no measurement."""

from collections.abc import Sequence

import pytest
from msgspec import structs

from metrics_server.catalogue import CATALOGUE
from metrics_server.errors import MeasurementMissingError
from metrics_server.fallback import FallbackChain, FallbackKind, Simulated
from metrics_server.kube.labels import parse_selector
from metrics_server.rules import Rules
from metrics_server.samples import Answer, Question

UTILIZATION = Rules(CATALOGUE).find("gpu_utilization")
MEMORY = Rules(CATALOGUE).find("gpu_memory_used")
QUESTION = Question("default", "gpu_utilization", parse_selector("app=a"))
MISSING = MeasurementMissingError("0 of 2 pods have a measurement", "exporters-failed")
REAL = Answer(83.0, 0, 1000.0, "exporters", 2, 2)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time it was set to."""
        return self.now


def chain(kinds: Sequence[FallbackKind], clock: Clock, random: float = 0.5) -> FallbackChain:
    """A chain with a last-known age of 60 s and the default simulation."""
    return FallbackChain(
        kinds,
        last_known_max_age=60,
        simulated=Simulated(),
        clock=clock,
        random=lambda: random,
    )


def test_last_known_comes_before_simulated() -> None:
    """The last real value is told again, with its own time and its origin named."""
    clock = Clock(1001)
    fallback = chain(["last-known", "simulated"], clock)
    fallback.remember(QUESTION, REAL)
    clock.now = 1060
    assert fallback.replace(QUESTION, UTILIZATION, 4, MISSING) == Answer(
        83.0, 0, 1000.0, "last-known", 2, 2
    )


def test_last_known_is_given_up_with_age() -> None:
    """Its age is counted from its oldest sample, so it is never older than allowed."""
    clock = Clock(1001)
    fallback = chain(["last-known", "simulated"], clock)
    fallback.remember(QUESTION, REAL)
    clock.now = 1060.5
    assert fallback.replace(QUESTION, UTILIZATION, 4, MISSING).origin == "simulated"


def test_last_known_belongs_to_its_question() -> None:
    """Another selector, namespace or metric has a memory of its own."""
    fallback = chain(["last-known"], Clock(1000))
    fallback.remember(QUESTION, REAL)
    for other in (
        Question("default", "gpu_utilization", parse_selector("app=b")),
        Question("other", "gpu_utilization", parse_selector("app=a")),
        Question("default", "gpu_temperature", parse_selector("app=a")),
    ):
        with pytest.raises(MeasurementMissingError):
            fallback.replace(other, UTILIZATION, 4, MISSING)


def test_the_same_question_in_other_words_shares_its_memory() -> None:
    """The spelling of the selector makes no difference."""
    fallback = chain(["last-known"], Clock(1000))
    fallback.remember(QUESTION, REAL)
    same = Question("default", "gpu_utilization", parse_selector("app == a"))
    assert fallback.replace(same, UTILIZATION, 4, MISSING).origin == "last-known"


@pytest.mark.parametrize(("random", "value"), [(0.0, 60.0), (0.5, 75.0), (0.999, 89.97)])
def test_simulated_is_60_to_90_percent(random: float, value: float) -> None:
    """Base 60 plus a uniform 0 to 30, told as simulated, covering no pod."""
    answer = chain(["simulated"], Clock(7), random).replace(QUESTION, UTILIZATION, 4, MISSING)
    assert answer.value == pytest.approx(value)
    assert structs.replace(answer, value=0) == Answer(0, 0, 7, "simulated", 0, 0)


def test_only_percentages_are_simulated() -> None:
    """60 to 90 bytes of memory would be no simulation of anything: the error stands."""
    with pytest.raises(MeasurementMissingError) as raised:
        chain(["simulated"], Clock(7)).replace(QUESTION, MEMORY, 4, MISSING)
    assert raised.value is MISSING


def test_a_simulated_sum_stands_for_all_pods() -> None:
    """75 % as the sum of four pods would take three of them away: it is 75 % each."""
    rule = Rules(CATALOGUE).find("gpu_utilization_sum")
    assert chain(["simulated"], Clock(7)).replace(QUESTION, rule, 4, MISSING).value == 300


def test_a_sum_over_gpus_is_not_simulated() -> None:
    """How many GPUs a pod has is not known here: the error stands."""
    rule = structs.replace(UTILIZATION, over_gpus="sum")
    with pytest.raises(MeasurementMissingError):
        chain(["simulated"], Clock(7)).replace(QUESTION, rule, 4, MISSING)


def test_error_ends_the_chain() -> None:
    """With `error` last, the missing measurement itself is the answer."""
    with pytest.raises(MeasurementMissingError) as raised:
        chain(["last-known", "error"], Clock(7)).replace(QUESTION, UTILIZATION, 4, MISSING)
    assert raised.value is MISSING
