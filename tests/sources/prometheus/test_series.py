"""A question's series selector, with the stored samples of a real Prometheus."""

import time
from collections.abc import Iterator

import pytest
from msgspec import structs

from metrics_server.config.rule_sources import used_with
from metrics_server.errors import NoSeriesMatchesError
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import MetricRule, Query
from metrics_server.rules.series import SeriesRequirement, SeriesSelector
from metrics_server.rules.serving import SERVING
from metrics_server.rules.templates import parse
from tests.sources.prometheus.test_pages import of_engine
from tests.support.prometheus import Prometheus, running
from tests.support.stored import of_gpu, open_metrics, pod, querying

pytestmark = pytest.mark.slow

RULES = {rule.name: used_with(rule, "only") for rule in (*CATALOGUE, *SERVING)}


def selecting(metric: str, label: str, *values: str) -> MetricRule:
    """A rule with the question's selector."""
    selector = SeriesSelector((SeriesRequirement(label, inside=True, values=values),))
    return structs.replace(RULES[metric], series=selector)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with GPUs of two models, and engines with several models."""
    now = time.time() - 5
    samples = [
        of_gpu(10, now, pod="both", modelName="A100"),
        of_gpu(90, now, pod="both", gpu="1", modelName="H100"),
        of_gpu(30, now, pod="old", gpu="2", modelName="A100"),
        # Another family also names its GPUs.
        of_gpu(1, now, pod="both", modelName="A100", family="DCGM_FI_DEV_GPU_TEMP"),
        of_gpu(1, now, pod="both", gpu="1", modelName="H100", family="DCGM_FI_DEV_GPU_TEMP"),
        of_engine("llm", 4, now, model_name="chat"),
        of_engine("llm", 2, now, model_name="code"),
        of_engine("other", 7, now, port=8001, model_name="code"),
    ]
    folder = tmp_path_factory.mktemp("prometheus")
    with running(Prometheus(folder, samples=open_metrics(samples))) as one:
        yield one


@pytest.mark.parametrize(
    ("rule", "expected", "excluded"),
    [
        (selecting("gpu_utilization", "modelName", "A100"), {"both": 10, "old": 30}, set()),
        (selecting("gpu_utilization", "modelName", "H100"), {"both": 90}, {"old"}),
        (selecting("llm_requests_waiting", "model_name", "code"), {"llm": 2, "other": 7}, set()),
        (selecting("llm_requests_waiting", "model_name", "chat"), {"llm": 4}, {"other"}),
    ],
)
async def test_series_are_selected(
    prometheus: Prometheus, rule: MetricRule, expected: dict[str, float], excluded: set[str]
) -> None:
    """The result is as on the pages themselves; a pod without a match is excluded."""
    names = ["both", "old"] if rule.measures == "gpus" else ["llm", "other"]
    pods = [pod(name, gpus=2 if name == "both" else 1) for name in names]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(rule, pods)
    assert {one.pod: one.gpus[0] for one in found.samples} == expected
    assert set(found.excluded) == excluded
    assert found.selected == len(expected)


@pytest.mark.parametrize(
    ("metric", "label", "words"),
    [
        ("gpu_utilization", "modelName", 'the values of modelName are "A100", "H100"'),
        ("llm_requests_waiting", "model_name", 'the values of model_name are "chat", "code"'),
    ],
)
async def test_nothing_matches(prometheus: Prometheus, metric: str, label: str, words: str) -> None:
    """The error lists the existing values."""
    names = ["both"] if metric == "gpu_utilization" else ["llm"]
    pods = [pod(name, gpus=2) for name in names]
    async with querying(prometheus.url, pods) as queried:
        with pytest.raises(NoSeriesMatchesError, match=words):
            await queried.source.collect(selecting(metric, label, "none"), pods)


async def test_a_query_has_no_series(prometheus: Prometheus) -> None:
    """A query's author selects its series, so it has no answer with a selector."""
    query = Query(parse("sum(up{})"))
    rule = structs.replace(
        selecting("llm_requests_waiting", "model_name", "code"), readings=(), query=query
    )
    pods = [pod("llm")]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(rule, pods)
    assert found.samples == ()
    assert "is a query, whose series cannot be selected by labels" in found.gaps[0].text
