"""Whether Prometheus, if it is configured, has fresh series of GPU exporters."""

import asyncio
from collections.abc import Mapping, Sequence

from metrics_server.common.text import listed
from metrics_server.config.prometheus import PrometheusConfig
from metrics_server.doctor.model import Check, Problem, Verdict, skipped
from metrics_server.doctor.reader import Reader
from metrics_server.errors import QueryError
from metrics_server.sources.prometheus.building import prometheus_settings
from metrics_server.sources.prometheus.client import PrometheusClient, Vector
from metrics_server.sources.prometheus.promql import equal

_METRIC = "gpu_utilization"
_SEE = "docs/prometheus.md#what-prometheus-must-have"


async def _run(reader: Reader) -> Verdict:
    config = (await reader.config()).prometheus
    settings = prometheus_settings(config)
    if settings is None:
        return Verdict("not configured")
    if not reader.subject.direct:
        return skipped(
            "Prometheus is queried at its own address: run kubectl -n "
            f"{reader.subject.server_namespace} exec deployment/gpu-metrics-server -- "
            "gpu-metrics-server doctor"
        )
    rule = (await reader.rules()).find(_METRIC)
    families = list(dict.fromkeys(reading.family for reading in rule.readings))
    matchers = ",".join(equal(label, value) for label, value in config.where.items())
    client = PrometheusClient(settings)
    try:
        vectors = await asyncio.gather(
            *(
                client.query(f"time() - max(timestamp({family}{{{matchers}}}))")
                for family in families
            )
        )
    except QueryError as error:
        return judge_failure(config, error)
    finally:
        await client.close()
    return judge(config, families, vectors)


def judge_failure(config: PrometheusConfig, error: QueryError) -> Verdict:
    """Judge a query that failed.

    Args:
        config: how Prometheus is queried.
        error: why it failed.
    """
    problem = Problem(
        "prometheus-failed",
        str(config.url),
        str(error),
        f"curl -s '{config.url}/api/v1/query?query=up'   # in a pod of the cluster",
        "docs/troubleshooting.md#prometheus-failed",
    )
    return Verdict("it cannot be queried", (problem,))


def judge(config: PrometheusConfig, families: Sequence[str], vectors: Sequence[Vector]) -> Verdict:
    """Judge which series of GPU exporters there are, and how old the newest sample is.

    Args:
        config: how Prometheus is queried.
        families: those that the metric is read from.
        vectors: for each, the seconds since its newest sample; empty without a series.
    """
    ages: Mapping[str, float] = {
        family: vector.series[0].value
        for family, vector in zip(families, vectors, strict=True)
        if vector.series
    }
    if not ages:
        where = f" with {config.where}" if config.where else ""
        problem = Problem(
            "prometheus-no-series",
            str(config.url),
            f"it has no series of {listed(families)}{where}: it does not scrape the GPU exporters, "
            "or drops or renames their metrics",
            "kubectl get servicemonitors,podmonitors -A | grep -i dcgm",
            _SEE,
        )
        return Verdict("no series of GPU exporters", (problem,))
    family, age = min(ages.items(), key=lambda one: one[1])
    if age > config.max_age:
        problem = Problem(
            "prometheus-old-samples",
            str(config.url),
            f"its newest sample of {family} is {age:.0f} s old, and counts for "
            f"{config.max_age:g} s (prometheus.maxAge): the exporters are no longer scraped, or "
            "less often than that",
            f"curl -s '{config.url}/api/v1/targets?state=active' | grep -i dcgm",
            _SEE,
        )
        return Verdict("old samples", (problem,))
    return Verdict(f"{listed(list(ages))}: the newest sample is {age:.0f} s old")


CHECK = Check(
    name="prometheus",
    about="If `prometheus.url` is set: can it be queried, and does it have fresh series of GPUs?",
    finds=("prometheus-failed", "prometheus-no-series", "prometheus-old-samples"),
    run=_run,
)
