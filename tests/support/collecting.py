"""Exporters on nodes, and what a source collects from them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.exporters.targets import Targets

RULE = MetricRule(
    name="gpu_utilization",
    help="of the test",
    unit="percent",
    readings=(
        Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100),
        Reading("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0, 1.01, scale=100),
    ),
    maximum=100,
)

Serve = Callable[[bytes], Awaitable[str]]
Collect = Callable[[Targets, Iterable[Pod]], Awaitable[Collection]]


def pod(name: str, node: str = "n1", namespace: str = "inference", gpus: int = 1) -> Pod:
    """A ready pod with GPUs."""
    return Pod(namespace, name, {}, node, "Running", ready=True, terminating=False, gpus=gpus)


def row(pod_name: str, value: float, gpu: str = "GPU-1", family: str = "GPU_UTIL") -> bytes:
    """A row of a page, for a pod in the namespace inference."""
    name = "DCGM_FI_PROF_GR_ENGINE_ACTIVE" if family == "GR_ENGINE" else f"DCGM_FI_DEV_{family}"
    labels = f'gpu="0",UUID="{gpu}",namespace="inference",pod="{pod_name}",container="c"'
    return f"{name}{{{labels}}} {value}\n".encode()


class Nodes:
    """Each node's exporters, as set by the test, and which nodes were asked for."""

    def __init__(self, urls: Mapping[str, tuple[str, ...]]) -> None:
        self.selected: set[str] = set()
        self._urls = urls

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The URLs of these nodes."""
        asked = set(nodes)
        self.selected |= asked
        return {node: self._urls.get(node, ()) for node in asked}


def causes(collection: Collection) -> dict[str, list[str]]:
    """Why pods have no sample: the messages for each reason, in order."""
    found: dict[str, list[str]] = {}
    for gap in collection.gaps:
        found.setdefault(gap.reason, []).append(gap.text)
    return found


def values(collection: Collection) -> list[tuple[float, ...]]:
    """The values of each covered pod's GPUs."""
    return [sample.gpus for sample in collection.samples]
