"""The last known value as a fallback."""

import pytest
from msgspec import structs

from metrics_server.errors import MeasurementMissingError
from metrics_server.kube.labels import parse_selector
from metrics_server.measuring.samples import Answer, Question
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from tests.support.clock import Clock
from tests.support.fallback import MISSING, QUESTION, REAL, UTILIZATION, chain, pods


def test_last_known_comes_before_simulated() -> None:
    """The last real value is repeated, with its own time and its origin named."""
    clock = Clock(1)
    fallback = chain(["last-known", "simulated"], clock)
    fallback.remember(QUESTION, REAL, pods(2))
    clock.now = 61
    assert fallback.replace(QUESTION, UTILIZATION, pods(2), MISSING) == Answer(
        83.0, 0, 1000.0, "last-known", 2, 2
    )


def test_last_known_is_given_up_with_age() -> None:
    """After 60 s the chain goes on."""
    clock = Clock(1)
    fallback = chain(["last-known", "simulated"], clock)
    fallback.remember(QUESTION, REAL, pods(2))
    clock.now = 61.5
    assert fallback.replace(QUESTION, UTILIZATION, pods(2), MISSING).source == "simulated"


@pytest.mark.parametrize(
    ("metric", "then", "now", "value"),
    [
        ("gpu_utilization", 4, 6, 55.333),
        ("gpu_utilization", 4, 2, 100),
        ("gpu_utilization", 4, 4, 83),
        ("gpu_utilization_sum", 4, 6, 83),
        ("gpu_utilization_sum", 4, 2, 83),
        ("gpu_utilization_max", 4, 4, 83),
        ("gpu_utilization_max", 4, 3, 83),
        ("gpu_utilization_max", 4, 5, None),
    ],
)
def test_last_known_is_work(metric: str, then: int, now: int, value: float | None) -> None:
    """A mean is scaled, and capped; a sum is kept; a maximum holds until there are more pods."""
    rule = Rules(CATALOGUE).find(metric)
    fallback = chain(["last-known"], Clock(1))
    fallback.remember(QUESTION, REAL, pods(then))
    if value is None:
        with pytest.raises(MeasurementMissingError):
            fallback.replace(QUESTION, rule, pods(now), MISSING)
    else:
        answer = fallback.replace(QUESTION, rule, pods(now), MISSING)
        assert answer.value == pytest.approx(value, abs=1e-3)
        assert answer.source == "last-known"


def test_what_is_scaled_is_what_the_hpa_was_given() -> None:
    """89.6 was answered as 90: four pods at 90 are 60 for each of six."""
    fallback = chain(["last-known"], Clock(1))
    fallback.remember(QUESTION, structs.replace(REAL, value=89.6), pods(4))
    answer = fallback.replace(QUESTION, UTILIZATION, pods(6), MISSING)
    assert (answer.value, answer.decimals) == (60, 3)


def test_a_mean_over_sums_may_be_above_one_gpus_maximum() -> None:
    """The cap is no lower than what was measured: 8 GPUs at 90 % are 720."""
    rule = structs.replace(UTILIZATION, over_gpus="sum")
    fallback = chain(["last-known"], Clock(1))
    fallback.remember(QUESTION, structs.replace(REAL, value=720), pods(2))
    assert fallback.replace(QUESTION, rule, pods(3), MISSING).value == 480
    assert fallback.replace(QUESTION, rule, pods(1), MISSING).value == 720


def test_last_known_belongs_to_its_question() -> None:
    """Another selector, namespace or metric has a memory of its own."""
    fallback = chain(["last-known"], Clock(1000))
    fallback.remember(QUESTION, REAL, pods(2))
    for other in (
        Question("default", "gpu_utilization", parse_selector("app=b")),
        Question("other", "gpu_utilization", parse_selector("app=a")),
        Question("default", "gpu_temperature", parse_selector("app=a")),
    ):
        with pytest.raises(MeasurementMissingError):
            fallback.replace(other, UTILIZATION, pods(4), MISSING)


def test_the_same_question_in_other_words_shares_its_memory() -> None:
    """The spelling of the selector makes no difference."""
    fallback = chain(["last-known"], Clock(1000))
    fallback.remember(QUESTION, REAL, pods(2))
    same = Question("default", "gpu_utilization", parse_selector("app == a"))
    assert fallback.replace(same, UTILIZATION, pods(4), MISSING).source == "last-known"
