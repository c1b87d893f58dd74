import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prometheus_client import CollectorRegistry

from metrics_server.api.types import GROUP
from metrics_server.auth.authentication import Outcome
from metrics_server.config.sections import Config
from metrics_server.errors import RequestError
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.simulator.kube.objects import Json
from metrics_server.telemetry.metrics import Decided, Monitor
from tests.deployments.manifests import (
    ROOT,
    SERVER,
    at,
    build,
    find,
    items,
    mapping,
    run,
    texts,
    tool,
)

pytestmark = pytest.mark.slow

OBJECTS = build("overlays/prometheus-operator")
RULES = find(OBJECTS, "PrometheusRule", SERVER)
ALERTS = [rule for group in items(RULES, "spec", "groups") for rule in items(group, "rules")]
DASHBOARD: Json = json.loads(
    str(at(find(OBJECTS, "ConfigMap", f"{SERVER}-dashboard"), "data", f"{SERVER}.json"))
)
PANELS = [panel for panel in items(DASHBOARD, "panels") if at(panel, "type") != "row"]
# Of kube-state-metrics, whose docs/metrics/workload/horizontalpodautoscaler-metrics.md lists them
# as stable, and of Prometheus itself.
OTHERS = {
    "kube_horizontalpodautoscaler_spec_max_replicas",
    "kube_horizontalpodautoscaler_spec_target_metric",
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_status_desired_replicas",
    "up",
}


def expressions() -> Iterator[str]:
    """Every PromQL expression of the alerts and of the dashboard."""
    for alert in ALERTS:
        yield str(at(alert, "expr"))
    for panel in PANELS:
        for target in items(panel, "targets"):
            yield str(at(target, "expr"))


def served() -> dict[str, set[str]]:
    """The labels of every series that the server exposes of itself, by its name."""
    registry = CollectorRegistry()
    monitor = Monitor(registry)
    monitor.answered("external", "gpu_utilization", 200, 0.1)
    monitor.failed("no-sample")
    monitor.missing("no-sample")
    monitor.fell_back("simulated")
    monitor.scraped("ok", 0.1)
    monitor.authenticated("token")
    monitor.certificate_used(1)
    monitor.follow_watches({"pods": lambda: 0})
    monitor.follow_sizes({"pods": lambda: 0})
    return {
        sample.name: set(sample.labels)
        for family in registry.collect()
        for sample in family.samples
    }


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_series_that_is_named_exists(expression: str) -> None:
    """Each metric is the server's, a family of the catalogue, or of the few that others have."""
    families = {reading.family for rule in CATALOGUE for reading in rule.readings}
    own = served()
    names = set(re.findall(r"\b(?:gpu|kube|DCGM)_\w+|\bup\b", re.sub(r'"[^"]*"', "", expression)))
    assert names
    assert names <= {*own, *families, *OTHERS}
    for name, selector in re.findall(r"\b(gpu_metrics_server_\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', "", selector)))
        assert labels <= {*own[name], "le"}
    for name in names & own.keys():
        grouped = re.findall(r"by \(([\w, ]+)\)", expression)
        assert {label for one in grouped for label in one.split(", ")} <= own[name]


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_value_of_a_label_exists(expression: str) -> None:
    """A reason, kind, state or outcome that an expression names is one that is counted."""
    reasons = {error.reason for error in _errors(RequestError)}
    known = {
        "reason": reasons,
        "outcome": {"ok", *get_args(Outcome)},
        "decision": {*get_args(Decided)},
        "state": {"selected", "covered"},
        "kind": {*Config().fallback.chain, "error"},
    }
    for label, value in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', expression):
        if label in known:
            assert set(value.split("|")) <= known[label]


def _errors(root: type[RequestError]) -> Iterator[type[RequestError]]:
    for error in root.__subclasses__():
        yield error
        yield from _errors(error)


def test_the_alerts_are_valid(tmp_path: Path) -> None:
    """Prometheus accepts every alert."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(mapping(RULES, "spec")))
    assert f"{len(ALERTS)} rules found" in run(tool("promtool"), "check", "rules", rules)


def test_the_expressions_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    """Prometheus accepts every expression of the dashboard, with its variables filled in."""
    records = [
        {
            "record": f"panel:{number}",
            "expr": expression.replace("$__rate_interval", "5m").replace("$namespace", ".*"),
        }
        for number, expression in enumerate(expressions())
    ]
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    assert f"{len(records)} rules found" in run(tool("promtool"), "check", "rules", rules)


# Series that bring an alert about, and how long it takes.
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
    # promtool's clock begins at 0.
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


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(at(alert, "alert")))
def test_each_alert_fires_when_it_should_and_alone(alert: Json, tmp_path: Path) -> None:
    """Under the series that it is for, an alert fires, with its summary, and no other does."""
    name = str(at(alert, "alert"))
    series, after = FIRING[name]
    up = {} if name == "GPUMetricsServerDown" else {'up{job="gpu-metrics-server"}': "1x120"}
    rules, tests = tmp_path / "rules.yaml", tmp_path / "tests.yaml"
    rules.write_text(yaml.safe_dump(mapping(RULES, "spec")))
    firing = [
        {
            "expr": "count by (alertname) (ALERTS{alertstate='firing'})",
            "eval_time": after,
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1}],
        }
    ]
    tests.write_text(
        yaml.safe_dump(
            {
                "rule_files": [rules.name],
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": [
                            {"series": one, "values": values}
                            for one, values in {**series, **up}.items()
                        ],
                        "promql_expr_test": firing,
                    }
                ],
            }
        )
    )
    run(tool("promtool"), "test", "rules", tests)


def test_no_alert_fires_while_all_is_well(tmp_path: Path) -> None:
    """A server that measures all its pods, in time, brings no alert about."""
    rules, tests = tmp_path / "rules.yaml", tmp_path / "tests.yaml"
    rules.write_text(yaml.safe_dump(mapping(RULES, "spec")))
    well = {
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
    tests.write_text(
        yaml.safe_dump(
            {
                "rule_files": [rules.name],
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": [
                            {"series": series, "values": values} for series, values in well.items()
                        ],
                        "promql_expr_test": [
                            {"expr": "ALERTS", "eval_time": "110m", "exp_samples": []}
                        ],
                    }
                ],
            }
        )
    )
    run(tool("promtool"), "test", "rules", tests)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(at(alert, "alert")))
def test_each_alert_has_its_page_in_the_runbook(alert: Json) -> None:
    """An alert has a severity, a summary, and a link to a heading of the runbook."""
    assert at(alert, "labels", "severity") in ("critical", "warning")
    assert at(alert, "annotations", "summary")
    page, _, anchor = str(at(alert, "annotations", "runbook_url")).partition("#")
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert at(alert, "alert") in headings
    assert anchor == str(at(alert, "alert")).lower()


def test_the_runbook_has_no_page_for_an_alert_that_is_not() -> None:
    """Every heading of the runbook is an alert."""
    page = str(at(ALERTS[0], "annotations", "runbook_url")).partition("#")[0]
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(str(at(alert, "alert")) for alert in ALERTS)


def test_the_dashboard_shows_what_matters() -> None:
    """Panels have a title, a place of their own, and at least one query each."""
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


def test_prometheus_may_scrape_what_it_is_told_to() -> None:
    """The ServiceMonitors select Services and ports that there are, and a role allows /metrics."""
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
