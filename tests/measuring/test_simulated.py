"""Simulated values as a fallback."""

from collections import Counter
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.api.types import format_quantity, milli_value
from metrics_server.common.clock import time_of_day
from metrics_server.errors import MeasurementMissingError
from metrics_server.kube.labels import parse_selector
from metrics_server.measuring.samples import Answer, Question
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from tests.support.clock import Clock
from tests.support.fallback import MISSING, QUESTION, REAL, UTILIZATION, chain, pods

MEMORY = Rules(CATALOGUE).find("gpu_memory_used")


@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
def test_simulated_is_60_to_90_percent(namespace: str, metric: str) -> None:
    """60 plus 0 to 30, marked as simulated, covering no pod; the same in every replica."""
    question = Question(namespace, metric, parse_selector("app=a"))
    answer = chain(["simulated"], Clock(7)).replace(question, UTILIZATION, pods(4), MISSING)
    assert answer.value in range(60, 91)
    assert structs.replace(answer, value=0) == Answer(0, 0, 7, "simulated", 0, 0)
    other = chain(["simulated"], Clock(99)).replace(question, UTILIZATION, pods(4), MISSING)
    assert structs.replace(other, timestamp=7) == answer


def test_simulated_values_are_spread_evenly() -> None:
    """Over many questions, each whole number in the range is equally likely."""
    fallback = chain(["simulated"], Clock(7))
    drawn = Counter(
        fallback.replace(
            Question("default", f"m{n}", parse_selector("")), UTILIZATION, pods(4), MISSING
        ).value
        for n in range(3100)
    )
    assert drawn.keys() == set(range(60, 91))
    assert all(50 < count < 160 for count in drawn.values())


@given(st.integers(1, 50), st.lists(st.integers(1, 100)))
def test_simulated_is_the_work_of_the_pods_there_were(first: int, later: list[int]) -> None:
    """The work stays the same for any number of pods; outside 60 to 90, the error is returned."""
    fallback = chain(["simulated"], Clock(7))
    work = fallback.replace(QUESTION, UTILIZATION, pods(first), MISSING).value * first
    for now in later:
        if 60 * now <= work <= 90 * now:
            answer = fallback.replace(QUESTION, UTILIZATION, pods(now), MISSING)
            # Never more, which the HPA might round up, and less by at most what it can read.
            assert work - now / 1000 <= answer.value * now <= work + 1e-9
        else:
            with pytest.raises(MeasurementMissingError):
                fallback.replace(QUESTION, UTILIZATION, pods(now), MISSING)


def test_a_replica_that_was_not_asked_before_does_not_move_it_again() -> None:
    """Another replica simulated a value for 4 pods, and the HPA added 3: here it is an error."""
    first = chain(["simulated"], Clock(7)).replace(QUESTION, UTILIZATION, pods(4), MISSING)
    created = time_of_day(7) - 3600
    for now in (
        pods(4, replicas=7, added=3, created=created),
        pods(7, added=3, created=created),
    ):
        fallback = chain(["simulated"], Clock(7))
        with pytest.raises(MeasurementMissingError):
            fallback.replace(QUESTION, UTILIZATION, now, MISSING)
        assert fallback.replace(QUESTION, UTILIZATION, pods(4), MISSING) == first


def test_pods_that_were_added_a_day_ago_have_settled() -> None:
    """A workload grows over time, and still gets a simulated value."""
    grown = pods(7, added=3, created=time_of_day(7) - 90_000)
    answer = chain(["simulated"], Clock(7)).replace(QUESTION, UTILIZATION, grown, MISSING)
    assert answer.source == "simulated"


def test_a_measurement_ends_an_outage() -> None:
    """The next outage is drawn for the pods at that time."""
    fallback = chain(["simulated"], Clock(7))
    first = fallback.replace(QUESTION, UTILIZATION, pods(4), MISSING).value
    with pytest.raises(MeasurementMissingError):
        fallback.replace(QUESTION, UTILIZATION, pods(8), MISSING)
    fallback.remember(QUESTION, REAL, pods(8))
    assert fallback.replace(QUESTION, UTILIZATION, pods(8), MISSING).value == first


def test_a_workload_that_was_scaled_since_has_had_its_move() -> None:
    """The workload has moved since its last measurement, so nothing is simulated."""
    clock = Clock(1)
    fallback = chain(["last-known", "simulated"], clock)
    fallback.remember(QUESTION, REAL, pods(100))
    # One pod fewer, which is terminating and still counts as Ready.
    resized = pods(100, replicas=99)
    assert fallback.replace(QUESTION, UTILIZATION, resized, MISSING).source == "last-known"
    clock.now = 100
    assert fallback.replace(QUESTION, UTILIZATION, pods(100), MISSING).source == "simulated"
    with pytest.raises(MeasurementMissingError):
        fallback.replace(QUESTION, UTILIZATION, resized, MISSING)


def test_pods_that_are_not_ready_yet_have_been_asked_for() -> None:
    """If the HPA has doubled the pods because of a simulated value, it does not move them again."""
    fallback = chain(["simulated"], Clock(7))
    assert fallback.replace(QUESTION, UTILIZATION, pods(4), MISSING).source == "simulated"
    with pytest.raises(MeasurementMissingError):
        fallback.replace(QUESTION, UTILIZATION, pods(4, replicas=8), MISSING)
    assert fallback.replace(QUESTION, UTILIZATION, pods(4), MISSING).source == "simulated"


@given(
    told=st.integers(1, 100),
    then=st.integers(1, 200),
    later=st.integers(1, 200),
    target=st.integers(1, 100),
)
def test_the_replicas_of_a_scaled_mean_are_the_same(
    told: int, then: int, later: int, target: int
) -> None:
    """A scaled mean gives the same replicas, though the HPA reads thousandths and rounds up."""
    fallback = chain(["last-known"], Clock(1))
    fallback.remember(QUESTION, structs.replace(REAL, value=float(told)), pods(then))
    answer = fallback.replace(QUESTION, UTILIZATION, pods(later), MISSING)
    milli = milli_value(format_quantity(answer.value, answer.decimals))
    if told * then <= 100 * later:
        assert ceil(Fraction(milli, 1000 * target) * later) == ceil(Fraction(told * then, target))
    else:
        assert milli == 100_000


def test_a_question_in_an_outage_is_not_forgotten() -> None:
    """A question is remembered while it is asked, and forgotten after ten minutes."""
    clock = Clock(0)
    fallback = chain(["simulated"], clock)
    fallback.replace(QUESTION, UTILIZATION, pods(4), MISSING)
    for _ in range(100):
        clock.now += 300
        with pytest.raises(MeasurementMissingError):
            fallback.replace(QUESTION, UTILIZATION, pods(40), MISSING)
    clock.now += 601
    assert fallback.replace(QUESTION, UTILIZATION, pods(40), MISSING).source == "simulated"


def test_only_percentages_are_simulated() -> None:
    """60 to 90 bytes of memory would simulate nothing useful, so the error is returned."""
    with pytest.raises(MeasurementMissingError) as raised:
        chain(["simulated"], Clock(7)).replace(QUESTION, MEMORY, pods(4), MISSING)
    assert raised.value is MISSING


def test_a_simulated_sum_stands_for_all_pods() -> None:
    """60 % as the sum of four pods would remove three of them, so each pod has that."""
    rule = Rules(CATALOGUE).find("gpu_utilization_sum")
    fallback = chain(["simulated"], Clock(7))
    value = fallback.replace(QUESTION, rule, pods(4), MISSING).value
    assert 4 * 60 <= value <= 4 * 90
    with pytest.raises(MeasurementMissingError):
        fallback.replace(QUESTION, rule, pods(1), MISSING)


def test_a_sum_over_gpus_is_not_simulated() -> None:
    """The number of a pod's GPUs is unknown here, so the error is returned."""
    rule = structs.replace(UTILIZATION, over_gpus="sum")
    with pytest.raises(MeasurementMissingError):
        chain(["simulated"], Clock(7)).replace(QUESTION, rule, pods(4), MISSING)


def test_error_ends_the_chain() -> None:
    """With `error` last, the missing measurement itself is the answer."""
    with pytest.raises(MeasurementMissingError) as raised:
        chain(["last-known", "error"], Clock(7)).replace(QUESTION, UTILIZATION, pods(4), MISSING)
    assert raised.value is MISSING
