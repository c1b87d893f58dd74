"""Choosing the right one of a pod's pages in a real Prometheus."""

import time
from collections.abc import Iterator

import pytest
from msgspec import structs

from metrics_server.config.rule_sources import used_with
from metrics_server.kube.pod_endpoints import PodEndpoint
from metrics_server.rules.model import Endpoint, MetricRule
from metrics_server.rules.serving import SERVING
from tests.support.prometheus import Prometheus, running
from tests.support.stored import Sample, open_metrics, pod, querying

pytestmark = pytest.mark.slow

WAITING = next(used_with(one, "only") for one in SERVING if one.name == "llm_requests_waiting")
RATE = next(used_with(one, "only") for one in SERVING if one.name == "llm_tokens_per_second")
FAMILY = "vllm:num_requests_waiting"


def of_engine(name: str, value: float, at: float, *, port: int = 8000, **labels: str) -> Sample:
    """A row of an engine's page, with Prometheus Operator's labels."""
    target = {"namespace": "ml", "pod": name, "instance": f"10.0.0.1:{port}", "job": "vllm"}
    return Sample(FAMILY, value, at, {**target, "model_name": "m", **labels})


@pytest.fixture(scope="module")
def now() -> float:
    """The end of the samples."""
    return time.time()


@pytest.fixture(scope="module")
def prometheus(now: float, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with the pages of some pods."""
    samples = [
        # From two jobs at different times.
        of_engine("copies", 3, now - 20, job="a"),
        of_engine("copies", 4, now - 10, job="b"),
        # One for each rank of an engine, the second with two rows.
        of_engine("ranks", 1, now - 10),
        of_engine("ranks", 2, now - 10, port=8001),
        of_engine("ranks", 5, now - 10, port=8001, engine="1"),
        # An earlier pod at another address, whose series has not ended.
        of_engine("again", 8, now - 50, port=9999),
        of_engine("again", 6, now - 10),
        # A row that is no longer written.
        of_engine("partly", 1, now - 10),
        of_engine("partly", 9, now - 90, engine="1"),
        # A label that both the page and the target have.
        of_engine("clash", 2, now - 10, exported_pod="x", exported_job="y"),
        # The same name in another namespace.
        of_engine("ranks", 99, now - 10, namespace="other"),
        # A counter with a single sample within any window.
        structs.replace(of_engine("once", 5, now - 1), name="vllm:generation_tokens_total"),
    ]
    stored = open_metrics(samples)
    with running(Prometheus(tmp_path_factory.mktemp("prometheus"), samples=stored)) as one:
        yield one


PORTS = PodEndpoint(ip="10.0.0.1", ports=(("metrics", 8000), ("rank-1", 8001)))


@pytest.mark.parametrize(
    ("name", "endpoint", "value"),
    [
        ("copies", Endpoint(), 4),
        ("ranks", Endpoint(port=8000), 1),
        ("ranks", Endpoint(port=8001), 7),
        ("ranks", Endpoint(port="rank-1"), 7),
        ("ranks", Endpoint(ports=(8000, 8001)), 8),
        ("ranks", Endpoint(ports=("metrics", "rank-1")), 8),
        ("again", Endpoint(), 6),
        ("clash", Endpoint(), 2),
    ],
)
async def test_pages(
    prometheus: Prometheus, now: float, name: str, endpoint: Endpoint, value: float
) -> None:
    """A page counts once, and so does each of the ports named by the rule."""
    pods = [pod(name, gpus=0, endpoint=PORTS, created=now - 30 if name == "again" else 0)]
    async with querying(prometheus.url, pods) as queried:
        rule = structs.replace(WAITING, endpoint=endpoint)
        found = await queried.source.collect(rule, pods)
    assert [one.gpus for one in found.samples] == [(value,)], found.gaps


@pytest.mark.parametrize(
    ("name", "rule", "words"),
    [
        ("ranks", WAITING, "at several addresses (10.0.0.1:8000, 10.0.0.1:8001): set the rule's"),
        (
            "ranks",
            structs.replace(WAITING, endpoint=Endpoint(ports=(8000, 8002))),
            "is not scraped by Prometheus at port 8002 of the rule's endpoint, but at 10.0.0.1:80",
        ),
        ("partly", WAITING, "has samples in Prometheus that are 9"),
        ("gone", WAITING, "Prometheus has no series that llm_requests_waiting is read from"),
        ("once", RATE, "has fewer than 2 samples of vllm:generation_tokens_total"),
    ],
)
async def test_no_value(prometheus: Prometheus, name: str, rule: MetricRule, words: str) -> None:
    """Part of a sum is not used as the sum; the message says what to change."""
    pods = [pod(name, gpus=0, endpoint=PORTS)]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(rule, pods)
    assert found.samples == ()
    assert words in found.gaps[0].text
