"""The source that queries Prometheus, built from the configuration."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from metrics_server.config.dialects import dialects_in_force
from metrics_server.config.prometheus import PrometheusConfig
from metrics_server.sources.access import access_files
from metrics_server.sources.parts import Built, Parts
from metrics_server.sources.prometheus.client import PrometheusClient, PrometheusSettings
from metrics_server.sources.prometheus.source import PrometheusSource


@asynccontextmanager
async def prometheus_source(parts: Parts) -> AsyncIterator[Built | None]:
    """The source of rules with `source: prometheus`; None if there is none."""
    config = parts.config.prometheus
    settings = prometheus_settings(config)
    if settings is None:
        yield None
        return
    client = PrometheusClient(settings)
    try:
        yield Built(
            PrometheusSource(
                client,
                parts.pods,
                max_age=config.max_age,
                reuse=parts.config.exporters.max_age,
                required=config.where,
                dialects=dialects_in_force(parts.config.dialects),
                monitor=parts.monitor,
            )
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
