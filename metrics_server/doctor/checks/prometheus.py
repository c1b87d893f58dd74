"""Whether Prometheus, if it is configured, has fresh series of GPU exporters."""

from collections.abc import Mapping, Sequence

from metrics_server.common.text import listed
from metrics_server.config.dialects import dialects_in_force
from metrics_server.config.prometheus import PrometheusConfig
from metrics_server.doctor.model import Check, Problem, Verdict, skipped
from metrics_server.doctor.reader import Reader
from metrics_server.errors import QueryError
from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import MetricRule
from metrics_server.sources.prometheus.building import prometheus_settings
from metrics_server.sources.prometheus.client import PrometheusClient
from metrics_server.sources.prometheus.selectors import (
    FAMILY,
    applied,
    counted,
    named,
    select,
    where,
)

_METRIC = "gpu_utilization"
_SEE = "docs/prometheus.md#what-prometheus-must-have"


async def _run(reader: Reader) -> Verdict:
    whole = await reader.config()
    config = whole.prometheus
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
    families = _families(rule)
    client = PrometheusClient(settings)
    try:
        if not families:
            await client.query("vector(1)")
            return Verdict(f"it can be queried; {_METRIC} is not read from its series of exporters")
        dialects = dialects_in_force(whole.dialects)
        ages = await _ages(client, families, dialects, where(config.where))
    except QueryError as error:
        return judge_failure(config, error)
    finally:
        await client.close()
    return judge(config, families, ages)


def _families(rule: MetricRule) -> Sequence[str]:
    """Return the families of exporters that a rule is read from in Prometheus (pure)."""
    if "prometheus" not in rule.sources or rule.measures != "gpus":
        return ()
    return tuple(dict.fromkeys(reading.family for reading in rule.readings))


async def _ages(
    client: PrometheusClient, families: Sequence[str], dialects: Sequence[Dialect], matchers: str
) -> Mapping[str, float]:
    """Return the seconds since the newest sample of each family, under its names in Prometheus.

    Raises:
        QueryError: a query failed.
    """
    query = counted(("__name__",), select(named(families, dialects), matchers))
    names = [one.labels.get("__name__", "") for one in (await client.query(query)).series]
    # The others only show which prefix an exporter's names have.
    ours = [name for name in names if name.endswith(tuple(families))]
    if not ours:
        return {}
    times = applied("timestamp", dict.fromkeys(ours, (matchers,)))
    query = f"time() - max by ({FAMILY}) ({times})"
    return {one.labels[FAMILY]: one.value for one in (await client.query(query)).series}


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


def judge(config: PrometheusConfig, families: Sequence[str], ages: Mapping[str, float]) -> Verdict:
    """Judge which series of GPU exporters there are, and how old the newest sample is.

    Args:
        config: how Prometheus is queried.
        families: those that the metric is read from.
        ages: the seconds since the newest sample of each of them that has series, by their names
            there.
    """
    if not ages:
        labels = f" with {config.where}" if config.where else ""
        problem = Problem(
            "prometheus-no-series",
            str(config.url),
            f"it has no series of {listed(families)}{labels}: it does not scrape the GPU "
            "exporters, or drops or renames their metrics",
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
