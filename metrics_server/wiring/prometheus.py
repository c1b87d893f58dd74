"""What queries Prometheus, built from the configuration."""

from metrics_server.config.prometheus import PrometheusConfig
from metrics_server.sources.prometheus.client import PrometheusSettings
from metrics_server.wiring.access import access_files


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
