"""A real Prometheus's stored samples become samples of live pods, or the reason why not."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from metrics_server.config.rule_sources import used_with
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import Measured, MetricRule, Reading
from tests.support.prometheus import Prometheus, running
from tests.support.stored import Sample, of_gpu, open_metrics, pod, querying

pytestmark = pytest.mark.slow

RULES = {rule.name: used_with(rule, "only") for rule in CATALOGUE}
UTILIZATION = RULES["gpu_utilization"]


def samples(now: float) -> list[Sample]:
    """The samples scraped so far."""
    return [
        of_gpu(50, now - 10, pod="web-0"),
        of_gpu(70, now - 20, pod="web-1", gpu="1"),
        # Its exporter is no longer scraped, and Prometheus does not know that its series ended.
        of_gpu(90, now - 100, pod="old-0", node="n2"),
        # One of two GPUs is no longer reported, but another family still names it.
        of_gpu(30, now - 10, pod="half-0", node="n3"),
        of_gpu(30, now - 100, pod="half-0", node="n3", gpu="1"),
        of_gpu(1, now - 10, pod="half-0", node="n3", gpu="1", family="DCGM_FI_DEV_GPU_TEMP"),
        # Another cluster, with pods of the same names.
        of_gpu(5, now - 10, pod="web-0", node="n9", cluster="other"),
        of_gpu(6, now - 10, pod="both-0", node="n4", cluster="other"),
        of_gpu(60, now - 10, pod="both-0", node="n4", cluster="own"),
        # Two replicas of Prometheus scraped the same exporter at different times.
        of_gpu(40, now - 10, pod="twice-0", node="n5", replica="a"),
        of_gpu(44, now - 12, pod="twice-0", node="n5", replica="b"),
        # A node without pods, and one that cannot be distinguished from others.
        of_gpu(0, now - 10, node="n6", namespace="", pod=""),
        Sample(
            "DCGM_FI_DEV_GPU_UTIL",
            7,
            now - 10,
            {"gpu": "0", "UUID": "GPU-x", "namespace": "ml", "pod": "lost-0"},
        ),
    ]


@pytest.fixture(scope="module")
def now() -> float:
    """The end of the samples."""
    return time.time()


@pytest.fixture(scope="module")
def prometheus(now: float, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with these samples."""
    stored = open_metrics(samples(now))
    with running(Prometheus(tmp_path_factory.mktemp("prometheus"), samples=stored)) as one:
        yield one


async def test_samples_have_their_own_times(prometheus: Prometheus, now: float) -> None:
    """Sample times are not the query's, but the older ones of an exporter's samples."""
    pods = [pod("web-0"), pod("web-1")]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(UTILIZATION, pods)
        assert {one.pod: one.gpus for one in found.samples} == {"web-0": (50,), "web-1": (70,)}
        age = time.time() - now + 20
        assert all(
            time.monotonic() - one.timestamp == pytest.approx(age, abs=2) for one in found.samples
        )


async def test_all_questions_of_a_namespace_share_the_queries(prometheus: Prometheus) -> None:
    """Questions share queries for any number of HPAs and pods, at once or within the reuse time."""
    pods = [pod("web-0"), pod("web-1"), pod("old-0", node="n2")]
    async with querying(prometheus.url, pods) as queried:
        await asyncio.gather(
            *(queried.source.collect(UTILIZATION, [pods[number % 3]]) for number in range(300))
        )
        # The exporters, their rows and their inventory, and the times.
        assert queried.count() == 4
        found = await queried.source.collect(UTILIZATION, pods)
        assert len(found.samples) == 2
        assert queried.count() == 4
        await queried.source.collect(RULES["gpu_temperature"], pods)
        assert queried.count() > 4


@pytest.mark.parametrize("measured", [("gpus", "pods"), ("pods", "gpus")])
async def test_rules_of_gpus_and_of_pods_do_not_share(
    prometheus: Prometheus, measured: tuple[Measured, Measured]
) -> None:
    """With equal readings, they are read from different pages."""
    pods = [pod("web-1")]
    readings = (Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100),)
    rules = [MetricRule("a", "", "", readings, 100, measures=one) for one in measured]
    async with querying(prometheus.url, pods) as queried:
        for rule in rules:
            found = await queried.source.collect(rule, pods)
            assert [one.gpus for one in found.samples] == [(70,)], rule.measures


async def test_exporters_are_looked_up_once(prometheus: Prometheus) -> None:
    """The look-up is kept while it names all pods; a new or terminating pod needs another."""
    pods = [pod("web-0"), pod("web-1")]
    async with querying(prometheus.url, pods, reuse=0) as queried:
        for count in (4, 7, 10):
            found = await queried.source.collect(UTILIZATION, pods)
            assert len(found.samples) == 2
            assert queried.count() == count
        pods.append(pod("both-0", node="n4"))
        found = await queried.source.collect(UTILIZATION, pods)
        assert len(found.samples) == 3
        assert queried.count() == 10 + 3 + 4


@pytest.mark.parametrize(
    ("name", "node", "words"),
    [
        ("old-0", "n2", "has samples of exporter n2:9400 (dcgm) that are 10"),
        ("half-0", "n3", "has samples of exporter n3:9400 (dcgm) that are 10"),
        ("gone-0", "n1", "Prometheus has no series that gpu_utilization is read from"),
        ("lost-0", "n1", "Prometheus has no series that gpu_utilization is read from"),
    ],
)
async def test_no_sample_is_never_0(
    prometheus: Prometheus, name: str, node: str, words: str
) -> None:
    """Old samples do not count, nor part of a pod's GPUs, nor samples that are not there."""
    pods = [pod(name, node=node, gpus=2 if name == "half-0" else 1)]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(UTILIZATION, pods)
        assert found.samples == ()
        assert found.gaps[0].reason == "no-sample"
        assert words in found.gaps[0].text


async def test_a_pod_that_is_gone_does_not_count(prometheus: Prometheus) -> None:
    """Its series still exist, but only the question's pods have samples."""
    pods = [pod("web-0")]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(UTILIZATION, pods)
        assert [one.pod for one in found.samples] == ["web-0"]


async def test_series_of_an_earlier_pod_do_not_count(prometheus: Prometheus, now: float) -> None:
    """A pod recreated with the same name has no sample before its first scrape."""
    pods = [pod("web-0", created=now - 5)]
    async with querying(prometheus.url, pods) as queried:
        assert (await queried.source.collect(UTILIZATION, pods)).samples == ()


async def test_labels_select_a_cluster(prometheus: Prometheus) -> None:
    """Pods with the same name in another cluster do not count."""
    pods = [pod("both-0", node="n4")]
    for cluster, value in (("own", 60), ("other", 6)):
        async with querying(prometheus.url, pods, required={"cluster": cluster}) as queried:
            (sample,) = (await queried.source.collect(UTILIZATION, pods)).samples
            assert sample.gpus == (value,)


async def test_replicas_of_prometheus_agree(prometheus: Prometheus) -> None:
    """Without deduplication, the same exporter occurs twice, with two values: one counts."""
    pods = [pod("twice-0", node="n5")]
    async with querying(prometheus.url, pods) as queried:
        (sample,) = (await queried.source.collect(UTILIZATION, pods)).samples
        assert sample.gpus in {(40,), (44,)}


@pytest.mark.parametrize(("node", "drained"), [("n6", ("bye-0",)), ("n7", ())])
async def test_a_terminating_pod_drains(
    prometheus: Prometheus, node: str, drained: tuple[str, ...]
) -> None:
    """A terminating pod's work is 0 once its node's exporter no longer names it."""
    pods = [pod("bye-0", node=node, terminating=True)]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(UTILIZATION, pods)
        assert (found.samples, found.drained) == ((), drained)


async def test_many_pods_are_split(prometheus: Prometheus) -> None:
    """Many pods take several queries of bounded length."""
    pods = [pod(f"web-{number}-{'x' * 40}") for number in range(500)] + [pod("web-0")]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(UTILIZATION, pods)
        assert [one.pod for one in found.samples] == ["web-0"]
        assert 4 < queried.count() < 10


async def test_the_pods_of_a_huge_namespace_are_not_queried_together(
    prometheus: Prometheus,
) -> None:
    """Each question is then only about its own pods."""
    pods = [pod("web-0"), *(pod(f"other-{number}") for number in range(2000))]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(UTILIZATION, pods[:1])
        assert [one.pod for one in found.samples] == ["web-0"]
        assert queried.count() == 4


async def test_prometheus_restarts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """While it is down, that is the reason, logged once; queries do not pile up; it recovers."""
    stored = open_metrics([of_gpu(50, time.time(), pod="web-0")])
    one = Prometheus(tmp_path_factory.mktemp("prometheus"), samples=stored)
    pods = [pod("web-0")]
    try:
        await asyncio.to_thread(one.start)
        async with querying(one.url, pods, reuse=0) as queried:
            assert (await queried.source.collect(UTILIZATION, pods)).samples
            await asyncio.to_thread(one.stop)
            with capture_logs() as logs:
                for _ in range(3):
                    found = await queried.source.collect(UTILIZATION, pods)
                    assert found.samples == ()
                    assert found.gaps[0].reason == "prometheus-failed"
                    assert "Prometheus could not be reached" in found.gaps[0].text
                await asyncio.to_thread(one.start)
                assert (await queried.source.collect(UTILIZATION, pods)).samples
            events = [log["event"] for log in logs]
            assert events == ["prometheus failed", "prometheus recovered"]
        async with querying("http://127.0.0.1:1", pods, reuse=60) as queried:
            for _ in range(50):
                await queried.source.collect(UTILIZATION, pods)
            assert queried.count("unreachable") == 1
    finally:
        await asyncio.to_thread(one.stop)
