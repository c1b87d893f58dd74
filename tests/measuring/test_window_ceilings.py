"""What a mean over a window may reach: what the pods had, and up to what a pod can have."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.errors import MeasurementMissingError
from metrics_server.kube.labels import parse_selector
from metrics_server.measuring.aggregation import aggregate, ceiling
from metrics_server.measuring.samples import Collection, Measurement, PodSample, Question
from metrics_server.measuring.windows import Windows
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import MetricRule
from metrics_server.rules.serving import SERVING
from tests.support.clock import Clock

GPUS = structs.replace(CATALOGUE[0], window=3600, over_gpus="sum")
WAITING = next(rule for rule in SERVING if rule.name == "llm_requests_waiting")
ROWS = structs.replace(WAITING, window=3600)
QUESTION = Question("default", "smooth", parse_selector("app=a"))

Pods = Sequence[tuple[float, ...]]


async def never() -> Measurement:
    """No test takes so long that the background would measure again."""
    raise MeasurementMissingError("not measured", "no-sample")


async def means(rule: MetricRule, moments: Sequence[Pods]) -> list[float]:
    """The mean that is answered at each of some moments, two minutes apart, for such pods."""
    clock = Clock(0)
    found: list[float] = []
    async with Windows(period=1, clock=clock) as windows:
        for pods in moments:
            samples = tuple(PodSample(f"pod-{n}", one, clock.now) for n, one in enumerate(pods))
            now = aggregate(rule, Collection(len(pods), samples), 0.5)
            found.append(windows.mean(QUESTION, rule, now, never).value)
            clock.now += 120
    return found


async def test_a_sum_over_gpus_may_be_above_the_maximum_of_one() -> None:
    """8 GPUs at 100 % and then at 5 % are 800 and 40; two pods' work is up to 800 for one."""
    busy, idle = (100.0,) * 8, (5.0,) * 8
    assert await means(GPUS, [[busy], [busy], [busy], [idle]]) == [800, 800, 800, 610]
    assert (await means(GPUS, [[busy, busy], [busy, busy], [busy]]))[-1] == 800


async def test_a_pod_that_was_not_measured_again_may_have_more_gpus() -> None:
    """The ceiling is that of all pods in the window, whichever of them have a sample now."""
    large, small = (100.0,) * 8, (10.0,)
    assert (await means(GPUS, [[large, small], [small, small]]))[-1] == 207.5


def test_what_is_not_added_up_has_the_maximum_of_one() -> None:
    """The busiest of a pod's rows, and a quantile of all of them."""
    busiest = structs.replace(WAITING, over_series="max")
    first = next(rule for rule in SERVING if rule.readings[0].quantile is not None)
    assert ceiling(busiest, ()) == max(one.maximum * one.scale for one in WAITING.readings)
    assert ceiling(first, ()) == max(one.maximum * one.scale for one in first.readings)


async def test_a_maximum_over_pods_is_averaged_as_it_is() -> None:
    """That of a pod with 8 GPUs and of one with a single GPU."""
    rule = structs.replace(GPUS, over_pods="max")
    assert await means(rule, [[(100.0,) * 8], [(100.0,)]]) == [800, 450]


@given(
    st.sampled_from([GPUS, ROWS]),
    st.integers(1, 8).flatmap(
        lambda count: st.lists(
            st.lists(st.tuples(st.floats(0, 100)), min_size=count, max_size=count),
            min_size=1,
            max_size=20,
        )
    ),
    st.integers(1, 8),
)
def test_it_is_between_what_the_same_pods_had(
    rule: MetricRule, moments: list[list[tuple[float]]], gpus: int
) -> None:
    """However much a pod's GPUs or rows add up to, the mean is the mean."""
    # Of rows, a pod has one value, which is their sum already.
    scaled = [
        [(value,) * gpus if rule is GPUS else (value * 1e6 * gpus,) for (value,) in pods]
        for pods in moments
    ]
    had = [sum(map(sum, pods)) / len(pods) for pods in scaled]
    last = asyncio.run(means(rule, scaled))[-1]
    assert last == pytest.approx(sum(had) / len(had))


@given(
    st.lists(st.lists(st.floats(0, 1e9), min_size=1, max_size=8), min_size=1, max_size=20),
)
def test_the_work_of_pods_that_are_gone_is_preserved(moments: list[list[float]]) -> None:
    """Pods x mean is the mean of all that the rows added up to, whatever pods are left."""
    last = asyncio.run(means(ROWS, [[(value,) for value in pods] for pods in moments]))[-1]
    assert last * len(moments[-1]) == pytest.approx(sum(map(sum, moments)) / len(moments))
