"""How a series selector affects an answer: which pods count, and what may replace it."""

from collections.abc import Sequence

import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry

from metrics_server.errors import MeasurementMissingError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.kube.series_selectors import split
from metrics_server.measuring.fallback import FallbackChain, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.samples import Answer, Collection, Form, PodSample, Question
from metrics_server.measuring.windows import Windows
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule
from metrics_server.telemetry.metrics import Monitor
from tests.support.clock import Clock
from tests.support.fallback import MISSING, QUESTION, REAL, UTILIZATION, chain, pods

READY = Pod("default", "a", {}, "n", "Running", ready=True, terminating=False, gpus=1)


class Cluster:
    """Pods, each with a value for each selector; None if no row of it matches."""

    def __init__(self, values: dict[str, dict[str, float | None]], leaving: str = "") -> None:
        self._values = values
        self._pods = tuple(
            structs.replace(READY, name=name, terminating=name in leaving) for name in "abcd"
        )
        self.asked: list[str] = []

    def in_namespace(self, _: str) -> tuple[Pod, ...]:
        """All pods."""
        return self._pods

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """A sample of each pod with a value; others are excluded, or missing if not named."""
        self.asked.append(str(rule.series))
        values = self._values[str(rule.series)]
        samples = [
            PodSample(pod.name, (value,), 0)
            for pod in pods
            if (value := values.get(pod.name)) is not None
        ]
        excluded = frozenset(name for name, value in values.items() if value is None)
        return Collection(len(pods) - len(excluded), tuple(samples), (), 9, excluded=excluded)


async def ask(
    cluster: Cluster, metric: str, *selectors: str, form: Form = "labelled"
) -> list[Answer]:
    """One server's answers to questions, in order."""
    provider = MetricsProvider(
        rules=Rules(CATALOGUE),
        pods=cluster,
        measure="ready",
        source=cluster,
        min_coverage=0.5,
        windows=Windows(period=1),
        fallback=FallbackChain(["error"], last_known_max_age=60, simulated=Simulated()),
        incidents=Incidents(),
        monitor=Monitor(CollectorRegistry()),
        clock=lambda: 1,
    )
    answers = []
    for selector in selectors:
        of_pods, series = split(parse_selector(selector))
        question = Question("default", metric, of_pods, form, series=series)
        answers.append(await provider.answer(question))
    return answers


A, B = "series/m=a", "series/m=b"


async def test_each_selector_has_its_own_answer() -> None:
    """An answer is remembered only for exactly the same series."""
    every: dict[str, float | None] = dict.fromkeys("abcd", 10.0)
    cluster = Cluster({"": every, A: every | {"a": 40.0}, B: every | {"a": 60.0}})
    answers = await ask(cluster, "gpu_utilization_sum", A, B, "", A, B, "")
    assert [one.value for one in answers] == [70, 90, 40] * 2
    assert cluster.asked == [A, B, ""]


@pytest.mark.parametrize(
    ("metric", "value"),
    [("gpu_utilization", 50), ("gpu_utilization_sum", 100), ("gpu_utilization_max", 60)],
)
async def test_pods_that_are_excluded_do_not_count(metric: str, value: float) -> None:
    """Excluded pods are neither covered nor in a mean; a missing one counts as the others' mean."""
    excluded: dict[str, float | None] = {"a": 40.0, "b": 60.0, "c": None, "d": None}
    (answer,) = await ask(Cluster({A: excluded}), metric, A)
    assert (answer.value, answer.covered, answer.selected) == (value, 2, 2)
    missing: dict[str, float | None] = {"a": 40.0, "b": 60.0, "c": None}
    (answer,) = await ask(Cluster({A: missing}), "gpu_utilization_sum", A)
    assert (answer.value, answer.covered, answer.selected) == (150, 2, 3)


async def test_pods_that_leave() -> None:
    """A mean is spread over those that match, and stays one if all of these are leaving."""
    values: dict[str, float | None] = {"a": 40.0, "b": 60.0, "c": None, "d": None}
    uneven = values | {"a": 40.5}
    (answer,) = await ask(Cluster({A: uneven}, leaving="c"), "gpu_utilization", A)
    assert answer.value == 50.25
    (answer,) = await ask(Cluster({A: values}, leaving="b"), "gpu_utilization", A)
    assert answer.value == 50
    (answer,) = await ask(Cluster({A: values}, leaving="ab"), "gpu_utilization", A)
    assert answer.value == 50


async def test_single_pods() -> None:
    """An excluded pod has no item."""
    values: dict[str, float | None] = {"a": 40.0, "b": 60.0, "c": None, "d": None}
    (answer,) = await ask(Cluster({A: values}), "gpu_utilization", A, form="pods")
    assert [(one.pod, one.value) for one in answer.pods] == [("a", 40), ("b", 60)]


def test_the_fallback() -> None:
    """No value of other series is repeated, and none is simulated for some of the pods."""
    series = split(parse_selector(A))[1]
    question = structs.replace(QUESTION, series=series)
    assert question.digest != QUESTION.digest
    known = chain(["last-known"], Clock(1))
    known.remember(QUESTION, REAL, pods(2))
    with pytest.raises(MeasurementMissingError):
        known.replace(question, UTILIZATION, pods(2), MISSING)
    known.remember(question, REAL, pods(2))
    assert known.replace(question, UTILIZATION, pods(2), MISSING).source == "last-known"
    simulating = chain(["simulated"], Clock(1))
    assert simulating.replace(QUESTION, UTILIZATION, pods(2), MISSING).source == "simulated"
    with pytest.raises(MeasurementMissingError):
        simulating.replace(question, UTILIZATION, pods(2), MISSING)
