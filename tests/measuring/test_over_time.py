"""Rules whose values already cover a period: rates and quantiles."""

from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec import structs

from metrics_server.errors import MeasurementMissingError, UnknownMetricError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.kube.series_selectors import split
from metrics_server.measuring.fallback import FallbackChain, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.samples import Collection, Form, PodSample, Question
from metrics_server.measuring.windows import Windows
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.rules.serving import SERVING
from metrics_server.telemetry.metrics import Monitor
from tests.support.clock import Clock
from tests.support.waiting import until

RATE = MetricRule(
    "rate",
    "",
    "",
    (Reading("m", 0, 1e6, rate=True),),
    1e6,
    window=30,
    measures="pods",
    sources=("pods",),
)
QUICK = structs.replace(RATE, name="quick", window=1)
MEAN = structs.replace(RATE, name="mean", readings=(Reading("m", 0, 1e6),))
PODS = tuple(
    Pod("default", name, {"app": "a"}, "n", "Running", ready=True, terminating=False, gpus=0)
    for name in "ab"
)


class Source:
    """Pods whose values are set by a test; none until then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.values: dict[str, float] = {}
        self.collected = 0
        self.selectors: list[str] = []

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """The pods."""
        assert namespace == "default"
        return PODS

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """A sample for each pod that has a value."""
        assert rule.readings
        self.collected += 1
        self.selectors.append(str(rule.series))
        now = self._clock()
        samples = [PodSample(pod, (value,), now) for pod, value in self.values.items()]
        return Collection(len(pods), tuple(samples))


@pytest.fixture
def clock() -> Clock:
    """A clock at 1000."""
    return Clock(1000)


@pytest.fixture
def source(clock: Clock) -> Source:
    """A source without values."""
    return Source(clock)


@pytest.fixture
async def provider(
    clock: Clock, source: Source, monitor: Monitor
) -> AsyncIterator[MetricsProvider]:
    """A provider of the rules."""
    async with Windows(period=0.001, clock=clock) as windows:
        yield MetricsProvider(
            rules=Rules([RATE, QUICK, MEAN]),
            pods=source,
            measure="ready",
            source=source,
            min_coverage=0.5,
            windows=windows,
            fallback=FallbackChain(["error"], last_known_max_age=1, simulated=Simulated()),
            incidents=Incidents(),
            monitor=monitor,
            clock=clock,
        )


def question(metric: str, form: Form = "labelled") -> Question:
    """A question about the pods."""
    return Question("default", metric, parse_selector("app=a"), form)


async def test_a_rate_is_not_averaged_over_its_window_again(
    provider: MetricsProvider, source: Source, clock: Clock
) -> None:
    """Unlike a gauge, it has the value at the window's end, and each pod has its own."""
    values: dict[str, list[float]] = {"rate": [], "mean": []}
    for value in (10, 40):
        source.values = {"a": value, "b": value * 2}
        for metric, found in values.items():
            answer = await provider.answer(question(metric))
            assert answer.window == 30
            found.append(answer.value)
        clock.advance(10)
    assert values == {"rate": [15, 60], "mean": [15, 37.5]}
    for metric, own in (("rate", [40, 80]), ("mean", [60, 60])):
        answer = await provider.answer(question(metric, "pods"))
        assert [one.value for one in answer.pods] == own


async def test_it_is_measured_again_before_it_has_a_value(
    provider: MetricsProvider, source: Source
) -> None:
    """The first scrape gives no value; the background makes the second."""
    with pytest.raises(MeasurementMissingError):
        await provider.answer(question("quick"))
    assert source.collected == 1
    await until(lambda: source.collected > 3)


def test_a_quantile_has_no_sum() -> None:
    """A sum of seconds over pods has no meaning."""
    rules = Rules(SERVING)
    name = "llm_time_to_first_token_p95"
    assert rules.find(name).target == "Value"
    with pytest.raises(UnknownMetricError):
        rules.find(f"{name}_sum")
    assert f"{name}_sum" not in rules.known()
    assert rules.find("llm_tokens_per_second_sum").target == "AverageValue"


async def test_selectors_of_series_share_their_scrapes(
    provider: MetricsProvider, source: Source, clock: Clock
) -> None:
    """However many there are, the background measures the pods as for one question."""
    source.values = {"a": 1, "b": 1}
    for number in range(5):
        series = split(parse_selector(f"series/m={number}"))[1]
        await provider.answer(structs.replace(question("quick"), series=series))
    assert source.selectors == [f"series/m={number}" for number in range(5)]
    await until(lambda: len(source.selectors) >= 8)
    assert set(source.selectors[5:]) == {""}
    assert len(provider._windows._windows) == 1
    clock.advance(1000)
