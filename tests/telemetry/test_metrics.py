"""The server's own metrics, as a Prometheus server reads them."""

from collections.abc import Mapping
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from metrics_server import __version__
from metrics_server.telemetry.metrics import _MAX_PENDING, Decided, Monitor

PREFIX = "gpu_metrics_server_"

# Each family with its type and its labels besides le.
FAMILIES: Mapping[str, tuple[str, frozenset[str]]] = {
    "request_duration_seconds": ("histogram", frozenset({"api", "metric", "code"})),
    "scrape_duration_seconds": ("histogram", frozenset({"outcome"})),
    "prometheus_query_duration_seconds": ("histogram", frozenset({"outcome"})),
    "sample_age_seconds": ("histogram", frozenset()),
    "question_pods": ("counter", frozenset({"state"})),
    "errors": ("counter", frozenset({"reason"})),
    "measurements_missing": ("counter", frozenset({"reason"})),
    "fallback_answers": ("counter", frozenset({"kind"})),
    "authentications": ("counter", frozenset({"outcome"})),
    "authorizations": ("counter", frozenset({"decision"})),
    "connections_dropped": ("counter", frozenset({"reason"})),
    "certificate_expiration_timestamp_seconds": ("gauge", frozenset({"certificate"})),
    "certificate_reload_failures": ("counter", frozenset()),
    "watch_restarts": ("counter", frozenset({"resource"})),
    "cached_objects": ("gauge", frozenset({"kind"})),
    "pages_read_ahead": ("counter", frozenset()),
    "questions_prepared": ("counter", frozenset({"outcome"})),
    "build_info": ("gauge", frozenset({"version"})),
}


def families(monitor: Monitor) -> dict[str, Metric]:
    """What the monitor exposes, read by another parser; creation times are left out."""
    found = text_string_to_metric_families(monitor.exposition().decode())
    return {family.name: family for family in found if not family.name.endswith("_created")}


def value(monitor: Monitor, sample: str, **labels: str) -> float | None:
    """A sample from the monitor."""
    for family in families(monitor).values():
        for one in family.samples:
            if one.name == PREFIX + sample and one.labels == labels:
                return float(one.value)
    return None


@pytest.fixture
def busy(monitor: Monitor) -> Monitor:
    """A monitor with everything counted once."""
    monitor.answered("external", "gpu_utilization", 200, 0.004)
    monitor.measured(age=1.2, covered=3, selected=4)
    monitor.failed("no-pod-matches")
    monitor.missing("no-exporter")
    monitor.fell_back("simulated")
    monitor.scraped("timeout", 2)
    monitor.queried("unreachable", 1)
    monitor.authenticated("anonymous")
    monitor.dropped("idle-longest")
    monitor.certificate_used(1.7e9)
    monitor.follow_watches({"pods": lambda: 5})
    monitor.follow_sizes({"pods": lambda: 6})
    monitor.follow_ahead(lambda: 7, {"used": lambda: 8, "unused": lambda: 9})
    return monitor


def test_every_family_is_exposed(busy: Monitor) -> None:
    """Each family has the prefix, a HELP line, the right type, and the documented labels."""
    found = families(busy)
    assert set(found) == {PREFIX + name for name in FAMILIES}
    for name, (kind, labels) in FAMILIES.items():
        family = found[PREFIX + name]
        assert family.type == kind
        assert family.documentation.endswith(".")
        assert family.samples
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                assert set(sample.labels) - {"le"} == labels


def test_the_form_is_the_text_format(busy: Monitor) -> None:
    """Every family has its TYPE line, and every line has an end."""
    text = busy.exposition().decode()
    assert text.endswith("\n")
    assert f"# TYPE {PREFIX}request_duration_seconds histogram\n" in text
    assert f"# TYPE {PREFIX}question_pods_total counter\n" in text


def test_before_anything_happens(monitor: Monitor) -> None:
    """The version is there from the start, and no answers are."""
    assert value(monitor, "build_info", version=__version__) == 1
    assert value(monitor, "sample_age_seconds_count") == 0
    assert value(monitor, "errors_total", reason="no-pod-matches") is None


def test_requests(monitor: Monitor) -> None:
    """A request is counted by metric and status, with its duration."""
    monitor.answered("external", "gpu_utilization", 200, 0.004)
    monitor.answered("external", "gpu_utilization", 200, 0.3)
    monitor.answered("external", "", 404, 0.001)
    name = "request_duration_seconds"
    labels = {"api": "external", "metric": "gpu_utilization", "code": "200"}
    assert value(monitor, f"{name}_count", **labels) == 2
    assert value(monitor, f"{name}_sum", **labels) == pytest.approx(0.304)
    assert value(monitor, f"{name}_bucket", le="0.005", **labels) == 1
    assert value(monitor, f"{name}_count", api="external", metric="", code="404") == 1


def test_measurements(monitor: Monitor) -> None:
    """The age is that of the oldest sample; pods add up over questions."""
    monitor.measured(age=0.7, covered=3, selected=4)
    monitor.measured(age=3, covered=1, selected=1)
    assert value(monitor, "sample_age_seconds_count") == 2
    assert value(monitor, "sample_age_seconds_bucket", le="1.0") == 1
    assert value(monitor, "question_pods_total", state="selected") == 5
    assert value(monitor, "question_pods_total", state="covered") == 4


def test_what_went_wrong(monitor: Monitor) -> None:
    """Errors, missing measurements and fallbacks are counted separately, each by its label."""
    monitor.failed("unknown-metric")
    monitor.missing("exporters-failed")
    monitor.missing("exporters-failed")
    monitor.fell_back("last-known")
    assert value(monitor, "errors_total", reason="unknown-metric") == 1
    assert value(monitor, "measurements_missing_total", reason="exporters-failed") == 2
    assert value(monitor, "fallback_answers_total", kind="last-known") == 1
    assert value(monitor, "fallback_answers_total", kind="simulated") is None


def test_scrapes(monitor: Monitor) -> None:
    """A scrape is counted by outcome."""
    monitor.scraped("ok", 0.02)
    monitor.scraped("unreachable", 0.001)
    assert value(monitor, "scrape_duration_seconds_count", outcome="ok") == 1
    assert value(monitor, "scrape_duration_seconds_bucket", outcome="ok", le="0.025") == 1
    assert value(monitor, "scrape_duration_seconds_count", outcome="unreachable") == 1


def test_who_asked(monitor: Monitor) -> None:
    """Outcomes are counted separately; every decision starts at zero."""
    monitor.authenticated("rejected")
    monitor.authorized("allowed")
    monitor.authorized("allowed")
    assert value(monitor, "authentications_total", outcome="rejected") == 1
    assert value(monitor, "authentications_total", outcome="anonymous") is None
    for decision in get_args(Decided):
        count = value(monitor, "authorizations_total", decision=decision)
        assert count == 2 * (decision == "allowed")


def test_the_certificate(monitor: Monitor) -> None:
    """Its expiry is exported once known; rejected pairs are counted."""
    name = "certificate_expiration_timestamp_seconds"
    assert value(monitor, name, certificate="serving") is None
    monitor.certificate_used(1_700_000_000)
    monitor.certificate_used(1_800_000_000)
    monitor.certificate_refused()
    assert value(monitor, name, certificate="serving") == 1_800_000_000
    assert value(monitor, "certificate_reload_failures_total") == 1


def test_watches_are_asked_when_the_page_is(monitor: Monitor) -> None:
    """The restarts of a watch are read whenever the page is scraped."""
    restarts = 0
    monitor.follow_watches({"pods": lambda: restarts, "endpointslices": lambda: 7})
    assert value(monitor, "watch_restarts_total", resource="pods") == 0
    restarts = 3
    assert value(monitor, "watch_restarts_total", resource="pods") == 3
    assert value(monitor, "watch_restarts_total", resource="endpointslices") == 7


def test_sizes_are_asked_when_the_page_is(monitor: Monitor) -> None:
    """The sizes are read whenever the page is scraped."""
    pods: list[str] = []
    monitor.follow_sizes({"pods": pods.__len__})
    assert value(monitor, "cached_objects", kind="pods") == 0
    pods.append("a")
    assert value(monitor, "cached_objects", kind="pods") == 1


def test_labels_are_escaped(monitor: Monitor) -> None:
    """No label value can break the page."""
    monitor.answered("external", 'a"b\\c\nd', 200, 1)
    name = "request_duration_seconds_count"
    assert value(monitor, name, api="external", metric='a"b\\c\nd', code="200") == 1


def test_two_monitors_do_not_meet() -> None:
    """Each server in a process has its own counts."""
    one, other = Monitor(CollectorRegistry()), Monitor(CollectorRegistry())
    one.failed("unknown-metric")
    assert value(one, "errors_total", reason="unknown-metric") == 1
    assert value(other, "errors_total", reason="unknown-metric") is None


def test_however_many_requests_come_each_is_counted_once(monitor: Monitor) -> None:
    """They are added in batches, and the rest when the metrics are read."""
    for _ in range(2 * _MAX_PENDING + 7):
        monitor.authorized("allowed")
        monitor.answered("external", "gpu_utilization", 200, 0.004)
        assert len(monitor._pending) < _MAX_PENDING

    for _ in range(2):
        assert value(monitor, "authorizations_total", decision="allowed") == 2 * _MAX_PENDING + 7
        counted = value(
            monitor,
            "request_duration_seconds_count",
            api="external",
            metric="gpu_utilization",
            code="200",
        )
        assert counted == 2 * _MAX_PENDING + 7
