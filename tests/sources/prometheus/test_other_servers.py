"""Servers with Prometheus's query API, and their documented differences.

Each row of the table in docs/prometheus.md has a test here, on a simulated answer.
"""

import time
from collections.abc import Mapping
from urllib.parse import parse_qsl

import pytest
from aiohttp import web
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.config.rule_sources import used_with
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import Query
from metrics_server.rules.serving import SERVING
from metrics_server.rules.templates import parse
from metrics_server.sources.prometheus.selectors import FAMILY
from tests.support.query_api import serving
from tests.support.stored import pod, querying

RULES = {rule.name: used_with(rule, "only") for rule in (*CATALOGUE, *SERVING)}
GPU = {
    "gpu": "0",
    "UUID": "GPU-a",
    "Hostname": "n1",
    "namespace": "ml",
    "pod": "web-0",
    "instance": "n1:9400",
    "job": "dcgm",
}
ENGINE = {"namespace": "ml", "pod": "web-0", "instance": "10.0.0.1:8000", "job": "pods"}


class Fake:
    """A server with one row, from a GPU or an engine.

    Attributes:
        forms: the parameters of each query.
        age: the age of the row.
        extra: other fields of each answer, besides its data.
    """

    def __init__(
        self,
        labels: Mapping[str, str],
        name: str,
        *,
        age: float = 5,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self.forms: list[dict[str, str]] = []
        self.age = age
        self.extra = dict(extra or {})
        self._labels = dict(labels)
        self._name = name

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Answer a query: a look-up, the row itself, or its time."""
        form = dict(parse_qsl((await request.read()).decode(), keep_blank_values=True))
        self.forms.append(form)
        query = form["query"]
        at = float(form.get("time", time.time()))
        metric: dict[str, str] = {**self._labels, "__name__": self._name}
        value = 42.0
        if query.startswith("count by"):
            metric, value = dict(self._labels), 1
        elif "timestamp(" in query:
            metric, value = {**self._labels, FAMILY: self._name}, at - self.age
        result = [{"metric": metric, "value": [at, str(value)]}]
        data = {"resultType": "vector", "result": result}
        return web.json_response({"status": "success", "data": data, **self.extra})


WARNING = "store 10.0.0.9:10901 did not answer"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"warnings": [WARNING]}, WARNING),
        ({"isPartial": True}, "the answer is partial (isPartial)"),
    ],
    ids=["thanos", "victoriametrics"],
)
async def test_a_partial_answer_is_not_a_sum(extra: Mapping[str, object], words: str) -> None:
    """A partial answer is rejected if a pod's rows, or a query's, could be missing unnoticed."""
    fake = Fake(ENGINE, "vllm:num_requests_waiting", extra=extra)
    query = Query(parse("sum(in_flight{<<.LabelMatchers>>})"))
    waiting = RULES["llm_requests_waiting"]
    rules = [waiting, structs.replace(waiting, name="mine", readings=(), query=query)]
    pods = [pod("web-0")]
    for rule in rules:
        async with serving(fake) as url, querying(url, pods) as queried:
            with capture_logs() as logs:
                found = await queried.source.collect(rule, pods)
                assert found.samples == ()
                assert found.gaps[0].reason == "prometheus-failed"
                assert "may be partial, and is not used" in found.gaps[0].text
                assert words in found.gaps[0].text
            assert [log["reason"] for log in logs] == ["partial"]


async def test_a_partial_answer_about_gpus_counts_where_it_is_complete() -> None:
    """A missing row is noticed, as each pod has a number of GPUs; the warning is reported."""
    fake = Fake(GPU, "DCGM_FI_DEV_GPU_UTIL", extra={"warnings": [WARNING]})
    pods = [pod("web-0"), pod("web-1"), pod("web-2", gpus=2)]
    async with serving(fake) as url, querying(url, pods, reuse=0) as queried:
        with capture_logs() as logs:
            for _ in range(3):
                found = await queried.source.collect(RULES["gpu_utilization"], pods)
                assert [one.pod for one in found.samples] == ["web-0"]
                assert found.gaps[-1].text == f"Prometheus reported: {WARNING}"
        assert [(log["event"], log["error"]) for log in logs] == [("prometheus warns", WARNING)]


async def test_remarks_about_a_query_are_not_about_data() -> None:
    """Prometheus 3 remarks on counters without _total in each answer, but nothing is missing."""
    remark = 'PromQL info: metric might not be a counter: "ray_vllm_generation_tokens"'
    fake = Fake(ENGINE, "vllm:num_requests_waiting", extra={"infos": [remark]})
    pods = [pod("web-0")]
    async with serving(fake) as url, querying(url, pods) as queried:
        (sample,) = (await queried.source.collect(RULES["llm_requests_waiting"], pods)).samples
    assert sample.gpus == (42,)


@pytest.mark.parametrize(("age", "samples"), [(45, 1), (75, 0)])
async def test_victoriametrics_hides_the_newest_samples(age: float, samples: int) -> None:
    """By default it hides the last 30 s: a sample's age is correct, and has a limit."""
    fake = Fake(GPU, "DCGM_FI_DEV_GPU_UTIL", age=age)
    pods = [pod("web-0")]
    async with serving(fake) as url, querying(url, pods) as queried:
        found = await queried.source.collect(RULES["gpu_utilization"], pods)
    assert len(found.samples) == samples
    for one in found.samples:
        assert time.monotonic() - one.timestamp == pytest.approx(age, abs=2)


async def test_all_queries_are_about_one_moment() -> None:
    """All have the time of the first answer, so that ages are right even if the clocks differ."""
    fake = Fake(GPU, "DCGM_FI_DEV_GPU_UTIL")
    pods = [pod("web-0")]
    async with serving(fake) as url, querying(url, pods) as queried:
        await queried.source.collect(RULES["gpu_utilization"], pods)
    first, *others = fake.forms
    assert "time" not in first
    assert len({form["time"] for form in others}) == 1
    for form in fake.forms:
        assert (form["partial_response"], form["deny_partial_response"]) == ("false", "1")
