"""Pages from a real Prometheus that take too long to parse are the reported cause."""

import time
from collections.abc import Iterator

import pytest

from metrics_server.config.rule_sources import used_with
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.serving import SERVING
from metrics_server.sources.pages.parsing import Parser
from tests.support.prometheus import Prometheus, running
from tests.support.stored import Sample, of_gpu, open_metrics, pod, querying

pytestmark = pytest.mark.slow

RULES = {rule.name: used_with(rule, "only") for rule in (*CATALOGUE, *SERVING)}
WAITING = "vllm:num_requests_waiting"
# Longer pages are parsed in a thread.
ROWS = 2000


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with long pages of an exporter and of a pod, and short ones."""
    at = time.time() - 5
    engine = {"namespace": "ml", "job": "vllm", "model_name": "m"}
    samples = [
        *(of_gpu(50, at, pod="long-0", gpu=str(number)) for number in range(ROWS)),
        of_gpu(50, at, pod="short-0", node="n2"),
        *(
            Sample(WAITING, 1, at, {**engine, "pod": "long-0", "instance": "a", "engine": str(one)})
            for one in range(ROWS)
        ),
        Sample(WAITING, 1, at, {**engine, "pod": "short-0", "instance": "b"}),
    ]
    folder = tmp_path_factory.mktemp("prometheus")
    with running(Prometheus(folder, samples=open_metrics(samples))) as one:
        yield one


GPUS = (
    "pod long-0: exporter n1:9400 (dcgm) has a page of 4000 lines in Prometheus, which was not "
    "parsed within 1e-09 s"
)
REQUESTS = (
    "the page of pod long-0 has 2000 lines in Prometheus, which were not parsed within 1e-09 s"
)


@pytest.mark.parametrize(
    ("name", "words"), [("gpu_utilization", GPUS), ("llm_requests_waiting", REQUESTS)]
)
async def test_a_page_that_takes_too_long(prometheus: Prometheus, name: str, words: str) -> None:
    """The message does not say that Prometheus has no series; other pods are measured."""
    pods = [pod("long-0"), pod("short-0", node="n2")]
    async with querying(prometheus.url, pods) as queried:
        queried.source._parser = Parser(1e-9)
        queried.source._parser_of_pods = Parser(1e-9)
        found = await queried.source.collect(RULES[name], pods)
    assert [one.pod for one in found.samples] == ["short-0"]
    assert [gap.text for gap in found.gaps] == [words]
