"""Samples for a real Prometheus, as if it had scraped exporters."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct
from prometheus_client import CollectorRegistry

from metrics_server.kube.pods import Pod
from metrics_server.sources.prometheus.client import PrometheusClient, PrometheusSettings
from metrics_server.sources.prometheus.source import PrometheusSource
from metrics_server.telemetry.metrics import Monitor

DURATION = "gpu_metrics_server_prometheus_query_duration_seconds_count"


class Sample(Struct, frozen=True):
    """A sample of a series.

    Attributes:
        name: the name of the family.
        value: the value.
        at: when it was scraped, in seconds since the epoch.
        labels: the labels.
    """

    name: str
    value: float
    at: float
    labels: Mapping[str, str]


def of_gpu(
    value: float, at: float, *, family: str = "DCGM_FI_DEV_GPU_UTIL", **labels: str
) -> Sample:
    """A row from dcgm-exporter, for GPU 0 of node n1 by default."""
    node = labels.pop("node", "n1")
    gpu = labels.pop("gpu", "0")
    own = {"gpu": gpu, "UUID": f"GPU-{node}-{gpu}", "Hostname": node}
    target = {"instance": f"{node}:9400", "job": "dcgm"}
    return Sample(family, value, at, {**target, **own, "namespace": "ml", **labels})


def open_metrics(samples: Sequence[Sample]) -> str:
    """The samples in the OpenMetrics format."""

    def line(one: Sample) -> str:
        labels = ",".join(f'{name}="{text}"' for name, text in one.labels.items())
        return f"{one.name}{{{labels}}} {one.value} {one.at:.3f}"

    in_order = sorted(samples, key=lambda one: (one.name, one.at))
    return "\n".join(map(line, in_order)) + "\n"


def pod(name: str, **changes: object) -> Pod:
    """A Ready pod in the namespace ml on node n1, with one GPU."""
    fields = {
        "namespace": "ml",
        "labels": {"app": "web"},
        "node": "n1",
        "phase": "Running",
        "ready": True,
        "terminating": False,
        "gpus": 1,
    }
    return Pod(name=name, **{**fields, **changes})  # type: ignore[arg-type]


class Queried(Struct, frozen=True):
    """A source, and its queries.

    Attributes:
        source: the source.
        registry: its monitor's registry.
    """

    source: PrometheusSource
    registry: CollectorRegistry

    def count(self, outcome: str = "ok") -> int:
        """How many queries ended this way."""
        return int(self.registry.get_sample_value(DURATION, {"outcome": outcome}) or 0)


@asynccontextmanager
async def querying(
    url: str,
    pods: Sequence[Pod],
    *,
    reuse: float = 60,
    required: Mapping[str, str] | None = None,
) -> AsyncIterator[Queried]:
    """A source that queries the Prometheus at a URL about these pods, the only ones."""
    registry = CollectorRegistry()
    client = PrometheusClient(PrometheusSettings(url=url, timeout=30))
    try:
        source = PrometheusSource(
            client,
            lambda namespace: [one for one in pods if one.namespace == namespace],
            max_age=60,
            reuse=reuse,
            required=required,
            monitor=Monitor(registry),
        )
        yield Queried(source, registry)
    finally:
        await client.close()
