"""From a collection to the one number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.aggregation import aggregate
from metrics_server.errors import MeasurementMissingError
from metrics_server.rules import CATALOGUE, MetricRule
from metrics_server.samples import Collection, PodSample, TargetFailure

UTILIZATION = CATALOGUE[0]


def collection(*pods: tuple[float, ...], asked: int | None = None) -> Collection:
    """A collection of pods, each told by the values of its GPUs."""
    samples = tuple(PodSample(gpus, 100.0 + index) for index, gpus in enumerate(pods))
    return Collection(asked=asked or len(pods), samples=samples)


def test_a_pod_counts_once_however_many_gpus_it_has() -> None:
    """The mean over a pod's GPUs comes first, then the mean over pods."""
    answer = aggregate(UTILIZATION, collection((90, 100, 80, 90), (10,)), 0.5)
    assert answer.value == 50


def test_the_timestamp_is_that_of_the_oldest_sample() -> None:
    """An answer never claims to be fresher than its oldest part."""
    assert aggregate(UTILIZATION, collection((1,), (2,), (3,)), 0.5).timestamp == 100.0


def test_coverage_is_told() -> None:
    """An answer says how many of the selected pods it covers."""
    answer = aggregate(UTILIZATION, collection((50,), (60,), asked=4), 0.5)
    assert (answer.covered, answer.asked, answer.origin) == (2, 4, "exporters")


@pytest.mark.parametrize(
    ("over_gpus", "over_pods", "value"),
    [
        ("avg", "avg", 35),
        ("max", "avg", 40),
        ("avg", "max", 60),
        ("min", "min", 0),
        ("sum", "sum", 80),
    ],
)
def test_aggregations(over_gpus: str, over_pods: str, value: float) -> None:
    """GPUs and pods are aggregated as the rule says."""
    rule = MetricRule(
        name="x",
        help="",
        unit="percent",
        readings=(),
        maximum=100,
        over_gpus=over_gpus,  # type: ignore[arg-type]  # the parameters above are all valid
        over_pods=over_pods,  # type: ignore[arg-type]
    )
    assert aggregate(rule, collection((0, 20), (60,)), 0.5).value == value


@given(
    st.lists(
        st.lists(st.floats(0, 100), min_size=1, max_size=8).map(tuple), min_size=1, max_size=20
    )
)
def test_a_mean_lies_between_its_extremes(pods: list[tuple[float, ...]]) -> None:
    """No mean is outside the range of what it is taken of, so none is out of the rule's range."""
    value = aggregate(UTILIZATION, collection(*pods), 0.5).value
    flat = [gpu for pod in pods for gpu in pod]
    assert min(flat) <= value <= max(flat) or math.isclose(value, min(flat))


def test_no_sample_is_an_error_whatever_the_coverage_asked_for() -> None:
    """Nothing measured is never a zero."""
    with pytest.raises(MeasurementMissingError):
        aggregate(UTILIZATION, Collection(asked=3, samples=()), 0)


def test_too_few_samples_are_an_error_that_says_all() -> None:
    """The sentence tells the share, what is asked for, and each gap with what to do."""
    gaps = Collection(
        asked=8,
        samples=(PodSample((50.0,), 1.0),),
        nodes_without_exporter=("node gpu-3",),
        failures=(TargetFailure("http://10.0.0.1:9400/metrics", "answered HTTP 500"),),
        pods_without_sample=("pod a", "pod b", "pod c", "pod d", "pod e"),
        hints=("2 values were out of range and not believed",),
    )
    with pytest.raises(MeasurementMissingError) as raised:
        aggregate(UTILIZATION, gaps, 0.5)
    assert str(raised.value) == (
        "1 of 8 pods have a measurement (fallback.minCoverage asks for 50%): "
        "the exporters answered but gave no value for pod a, pod b, pod c and 2 more; "
        "2 values were out of range and not believed; "
        "exporter http://10.0.0.1:9400/metrics answered HTTP 500; "
        "no exporter is ready on node gpu-3 "
        "(is one Running there, and its Service listed under exporters.services?)"
    )
    assert raised.value.label == "no-exporter"


def test_enough_samples_are_an_answer() -> None:
    """Just the share that is asked for is enough."""
    assert aggregate(UTILIZATION, collection((50,), asked=2), 0.5).value == 50
