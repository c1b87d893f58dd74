"""From a collection to a single value."""

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.errors import MeasurementMissingError
from metrics_server.measuring.aggregation import aggregate, answer_of
from metrics_server.measuring.samples import Collection, Gap, PodSample
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import Aggregation, MetricRule

UTILIZATION = CATALOGUE[0]


def collection(*pods: tuple[float, ...], selected: int | None = None) -> Collection:
    """A collection of pods, from the values of their GPUs."""
    samples = tuple(
        PodSample(f"pod-{index}", gpus, 100.0 + index) for index, gpus in enumerate(pods)
    )
    return Collection(selected=selected or len(pods), samples=samples)


def test_a_pod_counts_once_however_many_gpus_it_has() -> None:
    """The mean over a pod's GPUs comes first, then the mean over pods."""
    answer = aggregate(UTILIZATION, collection((90, 100, 80, 90), (10,)), 0.5)
    assert answer.value == 50


def test_the_timestamp_is_that_of_the_oldest_sample() -> None:
    """An answer is only as fresh as its oldest part."""
    assert aggregate(UTILIZATION, collection((1,), (2,), (3,)), 0.5).timestamp == 100.0


def test_coverage_is_reported() -> None:
    """An answer says how many of the selected pods it covers."""
    answer = aggregate(UTILIZATION, collection((50,), (60,), selected=4), 0.5)
    assert (answer.covered, answer.selected) == (2, 4)


def rule(over_gpus: Aggregation, over_pods: Aggregation, window: int = 0) -> MetricRule:
    """A percentage with these aggregations."""
    return MetricRule(
        name="x",
        help="",
        unit="percent",
        readings=(),
        maximum=100,
        over_gpus=over_gpus,
        over_pods=over_pods,
        window=window,
    )


@pytest.mark.parametrize(
    ("over_gpus", "over_pods", "value"),
    [
        ("avg", "avg", 35),
        ("max", "avg", 40),
        ("avg", "max", 60),
        ("min", "min", 0),
        ("sum", "sum", 80),
        ("avg", "sum", 70),
        ("p95", "p95", 60),
    ],
)
def test_aggregations(over_gpus: Aggregation, over_pods: Aggregation, value: float) -> None:
    """GPUs and pods are aggregated as the rule says."""
    assert aggregate(rule(over_gpus, over_pods), collection((0, 20), (60,)), 0.5).value == value


@pytest.mark.parametrize(
    ("count", "p95"), [(1, 1), (2, 2), (19, 19), (20, 19), (21, 20), (40, 38), (100, 95)]
)
def test_the_95th_percentile_is_by_nearest_rank(count: int, p95: float) -> None:
    """The percentile is the lowest of the values 1 to n that 95 % do not exceed, in any order."""
    pods = [(float(value),) for value in range(count, 0, -1)]
    assert aggregate(rule("avg", "p95"), collection(*pods), 0.5).value == p95


def test_a_sum_stands_for_the_pods_without_a_sample() -> None:
    """Two of three pods are measured, at 40 and 80: the third counts as their mean."""
    answer = aggregate(rule("avg", "sum"), collection((40,), (80,), selected=3), 0.5)
    assert answer.value == pytest.approx(180)
    assert (answer.covered, answer.selected) == (2, 3)


@pytest.mark.parametrize("over_pods", ["avg", "max", "min", "p95"])
def test_what_is_no_sum_is_of_the_pods_with_a_sample(over_pods: Aggregation) -> None:
    """A pod without a sample adds nothing to a mean or an extreme."""
    assert aggregate(rule("avg", over_pods), collection((40,), selected=2), 0.5).value == 40


def test_the_window_and_sharing_are_reported() -> None:
    """The answer has the rule's window, and is shared if any of its samples is."""
    own, shared = PodSample("a", (1,), 1.0), PodSample("b", (1,), 1.0, shared=True)
    smooth = rule("avg", "avg", window=30)
    answer = answer_of(smooth, aggregate(smooth, Collection(2, (own, shared)), 0.5))
    assert (answer.window, answer.shared, answer.source) == (30, True, "exporters")
    assert not aggregate(rule("avg", "avg"), Collection(1, (own,)), 0.5).shared


@given(
    over_gpus=st.sampled_from(get_args(Aggregation)),
    over_pods=st.sampled_from(get_args(Aggregation)),
    pods=st.lists(
        st.lists(st.floats(0, 100), min_size=1, max_size=8).map(tuple), min_size=1, max_size=20
    ),
    missing=st.integers(0, 20),
)
def test_no_answer_is_above_what_its_pods_can_have(
    over_gpus: Aggregation,
    over_pods: Aggregation,
    pods: list[tuple[float, ...]],
    missing: int,
) -> None:
    """Answers are finite, never negative, and at most the maximum times the number of summands."""
    selected = len(pods) + missing
    answer = aggregate(rule(over_gpus, over_pods), collection(*pods, selected=selected), 0)
    most = 100.0 * (max(map(len, pods)) if over_gpus == "sum" else 1)
    most *= selected if over_pods == "sum" else 1
    assert 0 <= answer.value <= most * (1 + 1e-9)


@given(
    st.lists(
        st.lists(st.floats(0, 100), min_size=1, max_size=8).map(tuple), min_size=1, max_size=20
    )
)
def test_a_mean_lies_between_its_extremes(pods: list[tuple[float, ...]]) -> None:
    """No mean is outside the range of its values, so none is outside the rule's range."""
    value = aggregate(UTILIZATION, collection(*pods), 0.5).value
    flat = [gpu for pod in pods for gpu in pod]
    assert min(flat) <= value <= max(flat) or math.isclose(value, min(flat))


def test_no_sample_is_an_error_whatever_the_coverage_asked_for() -> None:
    """Without any measurement the answer is never zero."""
    with pytest.raises(MeasurementMissingError):
        aggregate(UTILIZATION, Collection(selected=3, samples=()), 0)


def test_too_few_samples_are_an_error_that_says_all() -> None:
    """The message has the share, the required share, and each gap; the first gap is the reason."""
    gaps = Collection(
        selected=8,
        samples=(PodSample("pod-0", (50.0,), 1.0),),
        gaps=(
            Gap("exporters-failed", "exporter http://10.0.0.1:9400/metrics answered HTTP 500"),
            Gap("no-sample", "the exporters answered but gave no value for pod a"),
        ),
    )
    with pytest.raises(MeasurementMissingError) as raised:
        aggregate(UTILIZATION, gaps, 0.5)
    assert str(raised.value) == (
        "1 of 8 pods have a measurement (fallback.minCoverage requires 50%): "
        "exporter http://10.0.0.1:9400/metrics answered HTTP 500; "
        "the exporters answered but gave no value for pod a"
    )
    assert raised.value.reason == "exporters-failed"


def test_enough_samples_are_an_answer() -> None:
    """Exactly the required share is enough."""
    assert aggregate(UTILIZATION, collection((50,), selected=2), 0.5).value == 50


@pytest.mark.parametrize("over_pods", ["avg", "sum"])
def test_more_than_an_hpa_can_read_is_an_error(over_pods: Aggregation) -> None:
    """A page may have any number of rows, each of which is within the maximum."""
    rule = structs.replace(CATALOGUE[0], over_pods=over_pods)
    samples = (PodSample("a", (2e15,), 1), PodSample("b", (0,), 1))
    with pytest.raises(MeasurementMissingError, match=r"2e\+15 is more than an HPA can read"):
        aggregate(rule, Collection(2, samples, (), 0), 0)
