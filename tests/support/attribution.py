"""Recorded pages, and the values attributed to their pods."""

import re

from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.sources.exporters.pod_mapper import Attribution
from tests.support.data import EXPORTERS

PAGES = {path.stem: path.read_bytes() for path in EXPORTERS.glob("*.prom")}
READINGS = {rule.name: rule.readings for rule in CATALOGUE}
UTILIZATION = READINGS["gpu_utilization"]
# The columns of the tables below. Memory is in MiB, as on the page.
METRICS = (
    "gpu_utilization",
    "gpu_memory_copy_utilization",
    "gpu_memory_used",
    "gpu_memory_free",
    "gpu_power_usage",
    "gpu_temperature",
    "gpu_sm_clock",
    "gpu_memory_clock",
)


def flat(attribution: Attribution) -> dict[tuple[str, str, str], float]:
    """(namespace, pod, GPU) to value; the GPU is the first block of its UUID."""
    return {
        (*pod, re.sub(r"^GPU-(\w{8})-[\w-]+", r"\1", gpu)): value
        for pod, gpus in attribution.by_pod.items()
        for gpu, value in gpus.items()
    }
