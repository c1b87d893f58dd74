"""Alerts and dashboards name series that exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prometheus_client import CollectorRegistry

from metrics_server.auth.authentication import Outcome
from metrics_server.config.sections import Config
from metrics_server.errors import RequestError
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.telemetry.metrics import Decided, Monitor
from tests.deployments.manifests import at, items, mapping, run, tool
from tests.support.monitoring import ALERTS, PANELS, RULES

pytestmark = pytest.mark.slow


# From kube-state-metrics, whose docs/metrics/workload/horizontalpodautoscaler-metrics.md lists them
# as stable, and from Prometheus itself.
OTHERS = {
    "kube_horizontalpodautoscaler_spec_max_replicas",
    "kube_horizontalpodautoscaler_spec_target_metric",
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_status_desired_replicas",
    "up",
}


def expressions() -> Iterator[str]:
    """Every PromQL expression in the alerts and the dashboard."""
    for alert in ALERTS:
        yield str(at(alert, "expr"))
    for panel in PANELS:
        for target in items(panel, "targets"):
            yield str(at(target, "expr"))


def served() -> dict[str, set[str]]:
    """The labels of each of the server's own series, by name."""
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
    """Each metric is the server's, a family in the catalogue, or one of the few from elsewhere."""
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
    """Each reason, kind, state or outcome in an expression is one that is counted."""
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
    """Prometheus accepts every expression in the dashboard, with variables filled in."""
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
