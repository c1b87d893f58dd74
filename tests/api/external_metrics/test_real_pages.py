"""Values from pages of real exporters."""

from pathlib import Path

import pytest

from metrics_server.rules.families import MIB
from tests.support.exporters import page
from tests.support.external_metrics import PAGES
from tests.support.harness import cluster
from tests.support.objects import pod

# Computed by hand from the rows of the page: first a pod's mean over its GPUs, then the mean over
# pods, then rounded half up.
NUMBERS: list[tuple[str, str, str, str, float]] = [
    # Two pods with one GPU each.
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_utilization", 93),  # (97 + 88) / 2 = 92.5
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_memory_copy_utilization", 40),  # (46 + 33) / 2
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_memory_used", 26820.5 * MIB),  # 29584, 24057
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_memory_free", 5689.5 * MIB),  # 2926, 8453
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_power_usage", 261),  # 278.934, 243.447: 261.1905
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_temperature", 62),  # 62, 61: 61.5
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_sm_clock", 1530),  # both
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_memory_clock", 877),  # both
    # One pod with two GPUs; the four idle GPUs of the node, at 0 %, have no pod.
    ("dcgm-2.x", "research", "", "gpu_utilization", 100),  # 100, 100
    ("dcgm-2.x", "research", "", "gpu_memory_copy_utilization", 68),  # (67 + 68) / 2 = 67.5
    ("dcgm-2.x", "research", "", "gpu_power_usage", 285),  # 281.164, 288.163: 284.6635
    # Two pods with two GPUs each: (93 + 95) / 2 = 94 and (41 + 38) / 2 = 39.5, together 66.75.
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_utilization", 67),
    # (27 + 35) / 2 = 31 and (17 + 21) / 2 = 19, together 25.
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_memory_copy_utilization", 25),
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_memory_used", 75377 * MIB),
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_memory_free", 5674 * MIB),
    # 361.407 and 205.9245, together 283.66575.
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_power_usage", 284),
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_temperature", 54),  # 62, 45.5: 53.75
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_sm_clock", 1410),
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_memory_clock", 1593),
    # Three pods, 94, 39.5 and 12: 145.5 / 3 = 48.5. The mean over their five GPUs would be 55.8.
    ("dcgm-3.x-8gpu-multi-pod", "inference", "", "gpu_utilization", 49),
    # One pod, one GPU of which is idle: (0 + 67) / 2 = 33.5.
    ("dcgm-3.x-8gpu-multi-pod", "notebooks", "app=jupyter", "gpu_utilization", 34),
    # (99 + 98) / 2 = 98.5 and (71 + 69) / 2 = 70, together 84.25.
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_utilization", 84),
    # (63 + 20) / 2 = 41.5 and (42 + 30) / 2 = 36, together 38.75.
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_memory_copy_utilization", 39),
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_memory_used", 136002 * MIB),
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_memory_free", 7159 * MIB),
    # 644.05 and 469.9435, together 556.99675.
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_power_usage", 557),
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_temperature", 58),  # 63, 53.5: 58.25
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_sm_clock", 1980),
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_memory_clock", 3201),
    # A label of the pod, which the exporter calls pod_label_namespace, is not its namespace.
    ("dcgm-4.x-8gpu", "inference", "app=embedder", "gpu_utilization", 23),
    ("dcgm-4.x-8gpu", "inference", "", "gpu_utilization", 64),  # 98.5, 70, 23: 63.83
    ("dcgm-4.x-8gpu", "notebooks", "app in (jupyter,x)", "gpu_utilization", 27),  # 0, 54
    ("dcgm-4.x-8gpu", "notebooks", "", "gpu_sm_clock", 1163),  # 345, 1980: 1162.5
    # Instances have no GPU_UTIL; the busy share of the graphics engine is used instead.
    ("dcgm-mig", "serving", "app=llm", "gpu_utilization", 81),  # 0.812345
    ("dcgm-mig", "serving", "app=tiny", "gpu_utilization", 0),
    ("dcgm-mig", "serving", "app in (llm,embed)", "gpu_utilization", 51),  # 0.812345, 0.214433
    # Four instances of one GPU, a pod each: (95 + 91 + 40 + 7) / 4 = 58.25.
    ("dcgm-mig", "serving", "app=worker", "gpu_utilization", 58),
    ("dcgm-mig", "serving", "app=worker", "gpu_memory_used", 5752.5 * MIB),  # 23010 / 4
    ("dcgm-mig", "serving", "app=worker", "gpu_memory_free", 4231.5 * MIB),  # 16926 / 4
    # Instances do not report these separately: the GPU's values are used.
    ("dcgm-mig", "serving", "app=worker", "gpu_power_usage", 613),  # 612.853
    ("dcgm-mig", "serving", "app=worker", "gpu_temperature", 60),
    ("dcgm-mig", "serving", "app=worker", "gpu_sm_clock", 1980),
    ("dcgm-mig", "serving", "app=worker", "gpu_memory_clock", 2619),
    ("dcgm-mig", "serving", "", "gpu_utilization", 48),  # 335.6778 / 7 = 47.95
    # Whole GPUs of the same node: GPU_UTIL says 97, though the engine was busy 92 % of the time.
    ("dcgm-mig", "training", "", "gpu_utilization", 97),
    ("dcgm-mig", "training", "", "gpu_memory_copy_utilization", 24),  # 23, 31, 22, 20
]


@pytest.mark.parametrize("name", PAGES)
async def test_the_numbers_of_a_real_page(pages: Path, name: str) -> None:
    """A page as dcgm-exporter writes it gives exactly the numbers of the selected pods."""
    expected = {
        (namespace, metric, selector): str(int(number))
        for of, namespace, selector, metric, number in NUMBERS
        if of == name
    }
    async with cluster({"gpu-0": (pages / f"{name}.prom").read_text()}, PAGES[name]) as simulated:
        items = {
            question: (await simulated.client.metric(*question)).item() for question in expected
        }
    assert {question: item.value for question, item in items.items()} == expected
    for item in items.values():
        covered, _, asked_for = item.metric_labels["pods"].partition("/")
        assert covered == asked_for


async def test_pods_on_several_nodes(pages: Path) -> None:
    """Each pod is read from the exporter on its own node, and no other exporter is scraped."""
    nodes = {
        "gpu-0": page({("default", "a"): [10], ("default", "b"): [99]}),
        "gpu-1": page({("default", "a"): [99], ("default", "b"): [30]}),
        "gpu-2": (pages / "dcgm-2.x.prom").read_text(),
    }
    async with cluster(nodes, [pod("a", node="gpu-0"), pod("b", node="gpu-1")]) as simulated:
        item = (await simulated.client.metric("default", "gpu_utilization")).item()
        assert (item.value, item.metric_labels["pods"]) == ("20", "2/2")
        assert {n: e.scrapes for n, e in simulated.exporters.items()} == {
            "gpu-0": 1,
            "gpu-1": 1,
            "gpu-2": 0,
        }
