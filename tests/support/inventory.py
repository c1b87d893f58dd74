"""Rows of NVIDIA's and AMD's exporters."""

from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.pod_mapper import attribute
from metrics_server.sources.exporters.sheet import Sheet

P, Q = ("n", "p"), ("n", "q")
UTIL = Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100)
RATIO = Reading("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0, 1.01, scale=100)


def written(family: str, labels: dict[str, str], value: object) -> str:
    """A row of a page."""
    text = ",".join(f'{name}="{label}"' for name, label in labels.items())
    return f"{family}{{{text}}} {value}\n"


def dcgm(family: str, value: object, pod: str = "", **more: str) -> str:
    """A row for GPU 0 from dcgm-exporter, for a pod in the namespace n if one is named."""
    named = {"namespace": "n", "pod": pod} if pod else {}
    labels = {"gpu": "0", "UUID": "GPU-0", **named, **more}
    return written(family, labels, value)


def values(page: str, *readings: Reading) -> dict[str, float]:
    """The value of each pod's first GPU."""
    by_pod = attribute(Sheet(page.encode()), readings).by_pod
    return {pod: gpus[min(gpus)] for (_, pod), gpus in by_pod.items()}
