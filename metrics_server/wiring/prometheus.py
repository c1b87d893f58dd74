"""What queries Prometheus, built from the configuration."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from metrics_server.config.prometheus import PrometheusConfig
from metrics_server.kube.pods import Pod
from metrics_server.rules.dialect import Dialect
from metrics_server.sources.prometheus.client import PrometheusClient, PrometheusSettings
from metrics_server.sources.prometheus.source import PrometheusSource
from metrics_server.telemetry.metrics import Monitor
from metrics_server.wiring.access import access_files


@asynccontextmanager
async def prometheus_source(
    config: PrometheusConfig,
    pods: Callable[[str], Sequence[Pod]],
    *,
    reuse: float,
    dialects: tuple[Dialect, ...],
    monitor: Monitor,
) -> AsyncIterator[PrometheusSource | None]:
    """The source of rules with `source: prometheus`; None if there is none.

    Args:
        config: the section.
        pods: the pods of a namespace.
        reuse: for how many seconds an answer is used for further questions.
        dialects: how exporters label their rows.
        monitor: counts the queries.
    """
    settings = prometheus_settings(config)
    if settings is None:
        yield None
        return
    client = PrometheusClient(settings)
    try:
        yield PrometheusSource(
            client,
            pods,
            max_age=config.max_age,
            reuse=reuse,
            required=config.where,
            dialects=dialects,
            monitor=monitor,
        )
    finally:
        await client.close()


def prometheus_settings(config: PrometheusConfig) -> PrometheusSettings | None:
    """Return how Prometheus is queried; None if there is none."""
    if config.url is None:
        return None
    return PrometheusSettings(
        url=config.url,
        timeout=config.timeout,
        max_concurrency=config.max_concurrency,
        max_series=config.max_series,
        headers=config.headers,
        parameters=config.parameters,
        access=access_files(config.tls, config.auth, "prometheus", allow_http=config.allow_http),
    )
