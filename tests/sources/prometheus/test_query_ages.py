"""With a real Prometheus, a user's query never has a value from an old sample."""

import time
from collections.abc import Iterator

import pytest

from metrics_server.measuring.samples import Collection
from metrics_server.rules.model import MetricRule, Query
from metrics_server.rules.templates import parse
from tests.support.prometheus import Prometheus, running
from tests.support.stored import Sample, open_metrics, pod, querying

pytestmark = pytest.mark.slow

OLD = "the query reads samples that are 1"
ENDED = "the query reads a range of series that have ended"
NOTHING = "no series matches it now"
NOTHING_OF_POD = "the query has no value for it"


def request(count: float, at: float, of: str, **labels: str) -> Sample:
    """A gauge of requests in flight."""
    return Sample("in_flight", count, at, {"namespace": "ml", "pod": of, **labels})


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus, with pods that have fresh samples, old ones, both, or ended series."""
    now = time.time()
    samples = [
        *(request(4, now - age, "fresh-0", code="200") for age in (125, 65, 5)),
        request(7, now - 100, "old-0", code="200"),
        request(1, now - 5, "half-0", code="200"),
        request(7, now - 100, "half-0", code="500"),
        *(request(9, now - age, "ended-0", code="200") for age in (460, 400)),
        request(1, now - 5, "mixed-0", code="200"),
        *(request(9, now - age, "mixed-0", code="500") for age in (460, 400)),
        Sample("info", 1, now - 5, {"namespace": "ml", "pod": "old-0"}),
    ]
    folder = tmp_path_factory.mktemp("prometheus")
    with running(Prometheus(folder, samples=open_metrics(samples))) as one:
        yield one


async def measured(
    prometheus: Prometheus, text: str, label: str | None, *names: str
) -> tuple[dict[str, float], Collection]:
    """The values of pods from a query."""
    pods = [pod(name) for name in names]
    rule = MetricRule(
        *("mine", "", "", (), 1000.0),
        measures="pods",
        sources=("prometheus",),
        query=Query(parse(text), label),
    )
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(rule, pods)
    return {one.pod: one.gpus[0] for one in found.samples}, found


MATCHING = "in_flight{<<.LabelMatchers>>}"


@pytest.mark.parametrize(
    ("text", "label", "name", "words"),
    [
        (MATCHING, "pod", "old-0", OLD),
        (f"sum({MATCHING})", None, "old-0", OLD),
        # An old part of a sum is neither left out nor counted.
        (f"sum by (pod) ({MATCHING})", "pod", "half-0", OLD),
        (f"sum({MATCHING})", None, "half-0", OLD),
        # A join reads both sides.
        (f"{MATCHING} * on (pod) info{{<<.LabelMatchers>>}}", "pod", "old-0", OLD),
        (f"{MATCHING} * on (namespace) group_left info{{}}", "pod", "old-0", OLD),
        (
            "info{<<.LabelMatchers>>} + on (namespace) group_left sum by (namespace) (in_flight{})",
            "pod",
            "old-0",
            OLD,
        ),
        # A range whose newest sample is old, or whose series have ended.
        (f"sum(increase({MATCHING}[5m])) + 1 or vector(1)", None, "old-0", OLD),
        (f"max_over_time({MATCHING}[10m])", "pod", "old-0", OLD),
        (f"max_over_time({MATCHING}[10m])", "pod", "ended-0", ENDED),
        (f"sum(last_over_time({MATCHING}[1h]))", None, "ended-0", ENDED),
        (f"max_over_time({MATCHING}[10m:10s])", "pod", "ended-0", ENDED),
        (f"max_over_time(sum by (pod) ({MATCHING})[10m:10s])", "pod", "ended-0", ENDED),
        (
            f"info{{}} * 0 + on (namespace) sum by (namespace) (max_over_time({MATCHING}[10m]))",
            "pod",
            "ended-0",
            NOTHING_OF_POD,
        ),
        # A range's last samples look like current ones.
        (f"sum by (pod) (last_over_time({MATCHING}[10m]))", "pod", "mixed-0", ENDED),
        (f"sum(irate({MATCHING}[10m]))", None, "mixed-0", ENDED),
        # There is nothing to count.
        (f"sum({MATCHING}) or vector(0)", None, "ended-0", NOTHING),
        (
            f"sum by (pod) ({MATCHING}) or label_replace(vector(0), 'pod', 'ended-0', '', '')",
            "pod",
            "ended-0",
            NOTHING_OF_POD,
        ),
        (f"absent({MATCHING})", None, "ended-0", NOTHING),
    ],
)
async def test_old_samples_do_not_count(
    prometheus: Prometheus, text: str, label: str | None, name: str, words: str
) -> None:
    """Prometheus itself looks back five minutes, and in a range as far as the range says."""
    values, found = await measured(prometheus, text, label, name)
    assert values == {}
    assert words in found.gaps[0].text


@pytest.mark.parametrize(
    ("text", "label", "values"),
    [
        (MATCHING, "pod", {"fresh-0": 4}),
        (f"sum by (pod) (last_over_time({MATCHING}[10m]))", "pod", {"fresh-0": 4}),
        (f"max_over_time({MATCHING}[10m])", "pod", {"fresh-0": 4}),
        (f"sum by (pod) (max_over_time({MATCHING}[10m:10s]))", "pod", {"fresh-0": 4}),
        ("sum(in_flight{pod='fresh-0'})", None, {"fresh-0": 4, "old-0": 4}),
    ],
)
async def test_fresh_samples_count(
    prometheus: Prometheus, text: str, label: str | None, values: dict[str, float]
) -> None:
    """A pod's fresh samples count beside pods without any; a range has its newest sample's time."""
    counted, found = await measured(prometheus, text, label, "fresh-0", "old-0")
    assert counted == values
    for sample in found.samples:
        assert 5 <= time.monotonic() - sample.timestamp < 60


@pytest.mark.parametrize(
    "text",
    [
        f"{MATCHING} + on (namespace) group_left sum by (namespace) ({MATCHING})",
        f"{MATCHING} + scalar(sum({MATCHING}))",
        f"label_replace({MATCHING}, 'pod', '$1', 'pod', '(.*)')",
    ],
)
async def test_samples_of_other_pods_count_where_they_matter(
    prometheus: Prometheus, text: str
) -> None:
    """A value that may depend on another pod's old sample is not used."""
    values, found = await measured(prometheus, text, "pod", "fresh-0", "old-0")
    assert values == {}
    assert OLD in found.gaps[0].text


async def test_a_range_with_series_that_ended(prometheus: Prometheus) -> None:
    """The whole range counts, as long as the pod's newest sample is fresh."""
    values, _ = await measured(
        prometheus, f"sum by (pod) (max_over_time({MATCHING}[10m]))", "pod", "mixed-0"
    )
    assert values == {"mixed-0": 10}
