"""Results of a large cluster: what they take is what is counted, and all HPAs share them."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from metrics_server.config.rule_sources import used_with
from metrics_server.kube.pods import Pod
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import MetricRule
from metrics_server.rules.serving import SERVING
from metrics_server.sources.prometheus.source import _MAX_BYTES
from tests.support.prometheus import Prometheus, running
from tests.support.stored import Sample, of_gpu, open_metrics, pod, querying

pytestmark = pytest.mark.slow

RULES = {rule.name: used_with(rule, "only") for rule in (*CATALOGUE, *SERVING)}
UTILIZATION = RULES["gpu_utilization"]
WAITING = RULES["llm_requests_waiting"]
# As many labels as dcgm-exporter and Prometheus Operator write.
LONG = {
    "container": "engine",
    "modelName": "NVIDIA H100 80GB HBM3",
    "DCGM_FI_DRIVER_VERSION": "570.86.15",
    "endpoint": "metrics",
    "service": "dcgm-exporter",
    "prometheus": "monitoring/k8s",
}


def of_nodes(count: int, gpus: int, now: float) -> tuple[list[Sample], list[Pod]]:
    """Nodes with a pod that has all of their GPUs."""
    samples: list[Sample] = []
    pods: list[Pod] = []
    for number in range(count):
        node, name = f"gpu-node-{number:04d}.eu-west-1.compute", f"inference-{number:05d}"
        for gpu in range(gpus):
            own = {"device": f"nvidia{gpu}", "pci_bus_id": f"00000000:{gpu}8:00.0"}
            labels = {"gpu": str(gpu), "pod": name, **LONG, **own}
            samples.append(of_gpu(50, now - 5, node=node, **labels))
        pods.append(pod(name, node=node, gpus=gpus))
    return samples, pods


def of_engines(count: int, rows: int, now: float) -> tuple[list[Sample], list[Pod]]:
    """Pods with pages of their own."""
    samples: list[Sample] = []
    pods: list[Pod] = []
    for number in range(count):
        name = f"inference-{number:05d}"
        target = {"namespace": "ml", "pod": name, "instance": f"10.0.0.{number}:8000", "job": "a"}
        for row in range(rows):
            labels = {**target, "engine": str(row), "model_name": "meta-llama/Llama-3.1-70B"}
            samples.append(Sample("vllm:num_requests_waiting", 2, now - 5, labels))
        pods.append(pod(name))
    return samples, pods


@pytest.mark.parametrize(
    ("make", "rule", "count", "each"),
    [
        (of_nodes, UTILIZATION, 100, 1),
        (of_nodes, UTILIZATION, 50, 8),
        (of_nodes, UTILIZATION, 5, 100),
        (of_engines, WAITING, 100, 1),
        (of_engines, WAITING, 50, 16),
    ],
)
async def test_what_a_result_takes_is_counted(
    make: Callable[[int, int, float], tuple[list[Sample], list[Pod]]],
    rule: MetricRule,
    count: int,
    each: int,
    tmp_path: Path,
) -> None:
    """No less than what is allocated, and for exporters, whose results are large, little more."""
    samples, pods = make(count, each, time.time())
    with running(Prometheus(tmp_path, samples=open_metrics(samples))) as prometheus:
        async with querying(prometheus.url, pods) as queried:
            # What is allocated once, for all results.
            await queried.source.collect(rule, pods)
            results = queried.source._found._kept
            results.clear()
            tracemalloc.start()
            try:
                found = await queried.source.collect(rule, pods)
                assert len(found.samples) == count
                counted = results.bytes
                # The event loop keeps the result until it has called what waited for it.
                await asyncio.sleep(0)
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
                results.clear()
                gc.collect()
                taken = before - tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
    assert taken <= counted <= taken * (1.3 if make is of_nodes else 3)


async def test_a_result_of_many_nodes_is_shared(tmp_path: Path) -> None:
    """5,000 nodes with 8 GPUs each would have room: 500 take a tenth of it at most."""
    samples, pods = of_nodes(500, 8, time.time())
    with running(Prometheus(tmp_path, samples=open_metrics(samples))) as prometheus:
        async with querying(prometheus.url, pods) as queried:
            await queried.source.collect(UTILIZATION, pods[:10])
            count = queried.count()
            found = await queried.source.collect(UTILIZATION, pods[400:])
            assert len(found.samples) == 100
            assert queried.count() == count
            assert queried.source._found._kept.bytes * 10 <= _MAX_BYTES
