"""A query with one value, as any type of metric of a whole server with a real Prometheus."""

import json
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.harness import Cluster, cluster, configuration
from tests.support.objects import pod
from tests.support.prometheus import Prometheus, running
from tests.support.stored import Sample, open_metrics

pytestmark = pytest.mark.slow

PODS = 4
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"
CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
RULES = [
    {"name": "messages", "query": "sum(queue{})", "overPods": "sum", "maximum": 1000},
    {"name": "utilization", "query": "avg(load{})", "maximum": 100},
    {"name": "busiest", "query": "max(load{})", "overPods": "max", "maximum": 100},
]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with a queue, and a load."""
    now = time.time()
    stored = open_metrics([Sample("queue", 102, now - 5, {}), Sample("load", 80, now - 5, {})])
    with running(Prometheus(tmp_path_factory.mktemp("prometheus"), samples=stored)) as one:
        yield one


@pytest.fixture
async def server(prometheus: Prometheus) -> AsyncIterator[Cluster]:
    """A server whose rules are queries, without a pod label."""
    config = configuration({"prometheus": {"url": prometheus.url, "use": "only"}, "rules": RULES})
    pods = [pod(f"web-{number}") for number in range(PODS)]
    async with cluster({}, pods, config) as made:
        yield made


async def values(made: Cluster, path: str) -> list[str]:
    """The values of an answer's items, in order."""
    answer = await made.client.ask(path)
    assert answer.status == 200, answer.body
    return [item["value"] for item in json.loads(answer.body)["items"]]


async def test_the_sum_of_what_each_pod_has(server: Cluster) -> None:
    """An HPA with an AverageValue needs it: four pods at 80 % are 320."""
    assert await values(server, f"{EXTERNAL}/utilization_sum") == ["320"]
    assert await values(server, f"{CUSTOM}/metrics/utilization_sum") == ["320"]
    assert await values(server, f"{CUSTOM}/pods/*/utilization_sum") == ["80"] * PODS


@pytest.mark.parametrize(
    ("metric", "one", "each"),
    [("messages", "102", "25500m"), ("utilization", "80", "80"), ("busiest", "80", "80")],
)
async def test_a_total_is_shared_and_any_other_value_is_that_of_each_pod(
    server: Cluster, metric: str, one: str, each: str
) -> None:
    """A Pods metric's mean equals an External metric's AverageValue."""
    assert await values(server, f"{EXTERNAL}/{metric}") == [one]
    assert await values(server, f"{CUSTOM}/metrics/{metric}") == [one]
    assert await values(server, f"{CUSTOM}/pods/*/{metric}") == [each] * PODS
