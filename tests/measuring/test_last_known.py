"""The last known value as a fallback."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.errors import MeasurementMissingError
from metrics_server.kube.labels import parse_selector
from metrics_server.measuring.aggregation import aggregate, answer_of, rounded
from metrics_server.measuring.samples import Answer, Collection, PodSample, Question
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.rules.serving import SERVING
from tests.support.clock import Clock
from tests.support.fallback import MISSING, QUESTION, REAL, UTILIZATION, chain, pods

# A sum over the rows of each pod's page, which may be many times the maximum of one.
pods_of_rows = st.lists(st.floats(0, 1e8), min_size=1, max_size=20)


def test_last_known_comes_before_simulated() -> None:
    """The last real value is repeated, with its own time, and marked as such."""
    clock = Clock(1)
    fallback = chain(["last-known", "simulated"], clock)
    fallback.remember(QUESTION, REAL, pods(2))
    clock.now = 61
    assert fallback.replace(QUESTION, UTILIZATION, pods(2), MISSING) == Answer(
        83.0, 0, 1000.0, "last-known", 2, 2, ceiling=100
    )


def test_last_known_is_given_up_with_age() -> None:
    """After 60 s the next fallback is used."""
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
    """8 GPUs at 50 % are 400 for each of four pods, and up to 800 for each of those left."""
    rule = structs.replace(UTILIZATION, over_gpus="sum")
    samples = tuple(PodSample(f"pod-{n}", (50,) * 8, 1000) for n in range(4))
    answer = answer_of(rule, aggregate(rule, Collection(4, samples), 0.5))
    fallback = chain(["last-known"], Clock(1))
    fallback.remember(QUESTION, answer, pods(4))
    values = [fallback.replace(QUESTION, rule, pods(n), MISSING).value for n in (8, 4, 2, 1)]
    assert values == [200, 400, 800, 800]


@given(pods_of_rows, st.integers(1, 40))
@example([1.359375, 67108863.359375], 1)
def test_what_pods_add_up_is_work_for_any_number_of_them(values: list[float], now: int) -> None:
    """Rows of a page add up without a bound: the pods that are left stand for all of it."""
    rule = next(rule for rule in SERVING if rule.name == "llm_requests_waiting")
    samples = tuple(PodSample(f"pod-{n}", (value,), 1000) for n, value in enumerate(values))
    answer = answer_of(rule, aggregate(rule, Collection(len(values), samples), 0.5))
    answered = rounded(answer.value, answer.decimals)
    fallback = chain(["last-known"], Clock(1))
    fallback.remember(QUESTION, answer, pods(len(values)))
    repeated = fallback.replace(QUESTION, rule, pods(now), MISSING).value
    # Each pod's value is rounded down to thousandths; floating point may err by a little more.
    assert repeated * now == pytest.approx(answered * len(values), abs=now * 0.001001)


def test_last_known_belongs_to_its_question() -> None:
    """Another selector, namespace or metric is remembered separately."""
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
