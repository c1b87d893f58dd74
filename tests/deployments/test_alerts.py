"""Each alert fires when it should, and has its entry in the runbook."""

import re
from pathlib import Path

import pytest
import yaml

from metrics_server.api.types import GROUP
from metrics_server.config.sections import Config
from metrics_server.simulator.kube.objects import Json, Object
from tests.deployments.manifests import (
    ROOT,
    SERVER,
    at,
    find,
    items,
    mapping,
    run,
    texts,
    tool,
)
from tests.support.monitoring import ALERTS, DASHBOARD, OBJECTS, PANELS, RULES

pytestmark = pytest.mark.slow


# Series that trigger an alert, and how long that takes.
FIRING: dict[str, tuple[dict[str, str], str]] = {
    "GPUMetricsServerDown": ({'up{job="gpu-metrics-server"}': "0x30"}, "6m"),
    "GPUMetricsErrors": ({'gpu_metrics_server_errors_total{reason="no-sample"}': "0+1x60"}, "20m"),
    "GPUMetricsFallback": (
        {'gpu_metrics_server_fallback_answers_total{kind="simulated"}': "0+1x60"},
        "15m",
    ),
    "GPUExporterScrapesFailing": (
        {
            'gpu_metrics_server_scrape_duration_seconds_count{outcome="ok"}': "0+8x60",
            'gpu_metrics_server_scrape_duration_seconds_count{outcome="timeout"}': "0+2x60",
        },
        "20m",
    ),
    "GPUPodsWithoutSamples": (
        {
            'gpu_metrics_server_question_pods_total{state="selected"}': "0+10x60",
            'gpu_metrics_server_question_pods_total{state="covered"}': "0+8x60",
        },
        "30m",
    ),
    "GPUMetricsStale": (
        {
            'gpu_metrics_server_sample_age_seconds_bucket{le="10"}': "0x60",
            'gpu_metrics_server_sample_age_seconds_bucket{le="30"}': "0+5x60",
            'gpu_metrics_server_sample_age_seconds_bucket{le="+Inf"}': "0+5x60",
        },
        "20m",
    ),
    "GPUMetricsSlow": (
        {
            'gpu_metrics_server_request_duration_seconds_bucket{le="2.5"}': "0x60",
            'gpu_metrics_server_request_duration_seconds_bucket{le="5"}': "0+5x60",
            'gpu_metrics_server_request_duration_seconds_bucket{le="+Inf"}': "0+5x60",
        },
        "20m",
    ),
    "GPUMetricsServerReviewsFailing": (
        {
            'gpu_metrics_server_authentications_total{outcome="review-failed"}': "0+1x60",
        },
        "15m",
    ),
    # promtool's clock starts at 0.
    "GPUMetricsServerCertificateExpiring": (
        {"gpu_metrics_server_certificate_expiration_timestamp_seconds": "86400x120"},
        "90m",
    ),
    "GPUMetricsServerCertificateRefused": (
        {"gpu_metrics_server_certificate_reload_failures_total": "0x10 1x50"},
        "20m",
    ),
    "GPUMetricsServerWatchUnstable": (
        {'gpu_metrics_server_watch_restarts_total{resource="pods"}': "0+5x60"},
        "45m",
    ),
}


# A server that measures all its pods in time.
WELL = {
    'up{job="gpu-metrics-server"}': "1x120",
    'gpu_metrics_server_scrape_duration_seconds_count{outcome="ok"}': "0+8x120",
    'gpu_metrics_server_question_pods_total{state="selected"}': "0+8x120",
    'gpu_metrics_server_question_pods_total{state="covered"}': "0+8x120",
    'gpu_metrics_server_sample_age_seconds_bucket{le="2"}': "0+8x120",
    'gpu_metrics_server_sample_age_seconds_bucket{le="+Inf"}': "0+8x120",
    'gpu_metrics_server_request_duration_seconds_bucket{le="0.05"}': "0+8x120",
    'gpu_metrics_server_request_duration_seconds_bucket{le="+Inf"}': "0+8x120",
    'gpu_metrics_server_errors_total{reason="forbidden"}': "0+1x120",
    'gpu_metrics_server_watch_restarts_total{resource="pods"}': "0+0.2x120",
    "gpu_metrics_server_certificate_expiration_timestamp_seconds": "7776000x120",
}


def test_each_alert_fires_when_it_should_and_alone(tmp_path: Path) -> None:
    """With the series for it, an alert fires, and no other does; while all is well, none does."""
    names = [str(at(alert, "alert")) for alert in ALERTS]
    rules, tests = tmp_path / "rules.yaml", tmp_path / "tests.yaml"
    rules.write_text(yaml.safe_dump(mapping(RULES, "spec")))
    cases = [*map(firing, names), case("all is well", WELL, "ALERTS", "110m")]
    tests.write_text(yaml.safe_dump({"rule_files": [rules.name], "tests": cases}))
    run(tool("promtool"), "test", "rules", tests)


def firing(name: str) -> Object:
    """A test of promtool's that an alert fires with the series for it."""
    series, after = FIRING[name]
    up = {} if name == "GPUMetricsServerDown" else {'up{job="gpu-metrics-server"}': "1x120"}
    fires: Object = {"labels": f'{{alertname="{name}"}}', "value": 1}
    counted = "count by (alertname) (ALERTS{alertstate='firing'})"
    return case(name, {**series, **up}, counted, after, fires)


def case(name: str, series: dict[str, str], query: str, after: str, *expected: Object) -> Object:
    """A test of promtool's with the expected result of a query."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": after, "exp_samples": [*expected]}],
    }


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(at(alert, "alert")))
def test_each_alert_has_its_page_in_the_runbook(alert: Json) -> None:
    """An alert has a severity, a summary, and a link to a heading in the runbook."""
    assert at(alert, "labels", "severity") in ("critical", "warning")
    assert at(alert, "annotations", "summary")
    page, _, anchor = str(at(alert, "annotations", "runbook_url")).partition("#")
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert at(alert, "alert") in headings
    assert anchor == str(at(alert, "alert")).lower()


def test_the_runbook_has_no_page_for_an_alert_that_is_not() -> None:
    """Every heading in the runbook is an alert."""
    page = str(at(ALERTS[0], "annotations", "runbook_url")).partition("#")[0]
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(str(at(alert, "alert")) for alert in ALERTS)


def test_the_dashboard_shows_what_matters() -> None:
    """Panels have a title, a place of their own, and at least one query."""
    titles = [str(at(panel, "title")) for panel in PANELS]
    for wanted in (
        "GPU utilization by workload",
        "Replicas",
        "Age of samples",
        "Fallbacks",
        "Errors",
        "Scrapes by outcome",
    ):
        assert wanted in titles
    places: set[tuple[int, int]] = set()
    for panel in items(DASHBOARD, "panels"):
        x, y, w, h = (int(str(at(panel, "gridPos", side))) for side in "xywh")
        cells = {(column, line) for column in range(x, x + w) for line in range(y, y + h)}
        assert not cells & places
        assert x + w <= 24
        places |= cells
        assert at(panel, "type") == "row" or items(panel, "targets")
    ids = [at(panel, "id") for panel in items(DASHBOARD, "panels")]
    assert len(set(map(str, ids))) == len(ids)


def test_prometheus_may_scrape_what_is_configured() -> None:
    """The ServiceMonitors select existing Services and ports, and a role allows /metrics."""
    for name in (SERVER, "dcgm-exporter"):
        monitor, service = find(OBJECTS, "ServiceMonitor", name), find(OBJECTS, "Service", name)
        selector = mapping(monitor, "spec", "selector", "matchLabels")
        assert selector.items() <= mapping(service, "metadata", "labels").items()
        ports = [at(port, "name") for port in items(service, "spec", "ports")]
        assert at(monitor, "spec", "endpoints", 0, "port") in ports
    tls = mapping(find(OBJECTS, "ServiceMonitor", SERVER), "spec", "endpoints", 0, "tlsConfig")
    assert at(tls, "ca", "secret", "name") == Config().certificates.secret
    assert "insecureSkipVerify" not in tls
    role = find(OBJECTS, "ClusterRole", f"{SERVER}:metrics-reader")
    assert texts(role, "rules", 0, "nonResourceURLs") == ["/metrics"]
    assert GROUP not in str(items(role, "rules"))
