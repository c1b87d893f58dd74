"""The sources of rules: exporters, Prometheus, and queries."""

from pathlib import Path

import pytest

from metrics_server.config.file import load_config
from metrics_server.config.rules import rules_in_force
from metrics_server.errors import ConfigurationError
from metrics_server.rules.lookup import Rules

PROMETHEUS = "prometheus: {url: 'http://prometheus:9090'}"
READING = "readings: [{family: X, maximum: 1}]"
RATE = "readings: [{family: X, maximum: 1, rate: true}]"


def load(folder: Path, text: str) -> Rules:
    """The rules in effect with a configuration file."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    config = load_config(path)
    return rules_in_force(config.rules, gauges=True, prometheus=config.prometheus.use)


@pytest.mark.parametrize(
    ("rule", "measures", "sources"),
    [
        (READING, "gpus", ("exporters",)),
        (f"source: pods, {READING}", "pods", ("pods",)),
        (f"measures: pods, {READING}", "pods", ("pods",)),
        (f"source: prometheus, {READING}", "gpus", ("prometheus",)),
        (f"source: prometheus, measures: pods, {READING}", "pods", ("prometheus",)),
        (f"source: [exporters, prometheus], {READING}", "gpus", ("exporters", "prometheus")),
        (f"source: [prometheus, pods], window: 60s, {RATE}", "pods", ("prometheus", "pods")),
        ("query: 'up{}'", "pods", ("prometheus",)),
        ("query: 'up{}', measures: gpus", "gpus", ("prometheus",)),
        ("query: 'up{}', source: prometheus", "pods", ("prometheus",)),
    ],
)
def test_sources(tmp_path: Path, rule: str, measures: str, sources: tuple[str, ...]) -> None:
    """Where possible, a rule's source determines what it measures."""
    found = load(tmp_path, f"{PROMETHEUS}\nrules: [{{name: a, {rule}}}]").find("a")
    assert (found.measures, found.sources) == (measures, sources)


@pytest.mark.parametrize(
    ("use", "by_default", "serving"),
    [
        ("named", ("exporters",), ("pods",)),
        ("second", ("exporters", "prometheus"), ("pods", "prometheus")),
        ("only", ("prometheus",), ("prometheus",)),
    ],
)
def test_use(
    tmp_path: Path, use: str, by_default: tuple[str, ...], serving: tuple[str, ...]
) -> None:
    """The setting applies to every rule without a source: built-in ones, gauges and a user's."""
    own = f"rules: [{{name: a, {READING}}}, {{name: b, source: exporters, {READING}}}]"
    rules = load(tmp_path, f"prometheus: {{url: 'http://prometheus:9090', use: {use}}}\n{own}")
    for name in ("gpu_utilization", "dcgm_fi_dev_gpu_temp", "a", "gpu_utilization_sum"):
        assert rules.find(name).sources == by_default
    assert rules.find("llm_requests_waiting").sources == serving
    assert rules.find("llm_requests_waiting").measures == "pods"
    assert rules.find("b").sources == ("exporters",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source: prom", "rules.0.source.0: must be 'exporters', 'pods' or 'prometheus'"),
        ("source: []", "rules.0.source: is an empty list: name a source, or leave it out"),
        ("source: [pods, pods]", "rules.0.source: lists pods twice"),
        ("source: [exporters, pods]", "only prometheus goes with either"),
        ("source: exporters, measures: pods", "measures: pods does not go with source: exporters"),
        ("source: pods, measures: gpus", "measures: gpus does not go with source: pods"),
        ("podLabel: pod", "podLabel is only for rules with a query"),
        ("query: 'up{}'", "query and readings are mutually exclusive: set one of them"),
    ],
)
def test_sources_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    """The message says what to write."""
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, f"{PROMETHEUS}\nrules: [{{name: a, {text}, {READING}}}]")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"source: prometheus, {RATE}",
            "readings.0: rate and quantile are only for measures: pods",
        ),
        (
            f"source: prometheus, measures: pods, {RATE}",
            "readings.0: from prometheus, a rate or a quantile needs a window",
        ),
        ("query: sum(", "rules.0.query: ) is missing at the end"),
        ("query: sum(up)", "rules.0.query: up has no braces: if it is a metric, write up{} or"),
        ("query: 'sum(up{} offset 5m)'", "rules.0.query: offset reads samples of another time"),
        ("query: vector(1)", "rules.0.query: reads no series"),
        ("query: 'sum(<<.LabelMatchers>>)'", "rules.0.query: namespace has no braces"),
        ("query: 'up{}', source: pods", "query is only for source: prometheus"),
        ("query: 'up{}', podLabel: pod", "with podLabel, the query must select the namespace"),
        ("query: 'sum by (<<.GroupBy>>) (up{})'", "set podLabel to the label with its name"),
    ],
)
def test_rules_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    """The message says what to write."""
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, f"{PROMETHEUS}\nrules: [{{name: a, {text}}}]")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"rules: [{{name: a, source: [exporters, prometheus], {READING}}}]",
            "rules.0 (a) is read from prometheus, but prometheus.url is not set",
        ),
        (
            "rules: [{name: a, query: 'up{}'}]",
            "rules.0 (a) is read from prometheus, but prometheus.url is not set",
        ),
        ("prometheus: {use: second}", "prometheus: use: second needs the url of Prometheus"),
    ],
)
def test_prometheus_must_be_somewhere(tmp_path: Path, text: str, message: str) -> None:
    """A rule that could never have a value is an error at startup."""
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, text)
    assert message in str(raised.value)


@pytest.mark.parametrize("use", ["named", "second", "only"])
@pytest.mark.parametrize("reading", [RATE, "readings: [{family: X, maximum: 1, quantile: 0.5}]"])
@pytest.mark.parametrize("named", ["source: pods, ", ""])
def test_a_rate_from_prometheus_has_a_window(
    tmp_path: Path, use: str, reading: str, named: str
) -> None:
    """Also where Prometheus is used by a rule that does not name it: its queries need one."""
    rule = f"name: a, measures: pods, {named}{reading}"
    text = f"prometheus: {{url: 'http://prometheus:9090', use: {use}}}\nrules: [{{%s}}]"
    assert load(tmp_path, text % f"{rule}, window: 60s").find("a").window == 60
    if use == "named" or named:
        assert load(tmp_path, text % rule).find("a").sources == ("pods",)
        return
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, text % rule)
    assert str(raised.value).endswith(
        f"rules.0 (a), with prometheus.use: {use}: readings.0: from prometheus, a rate or a "
        "quantile needs a window, at least twice as long as the interval of its scrapes, such as "
        "window: 60s"
    )


@pytest.mark.parametrize("use", ["second", "only"])
def test_built_in_rates_have_a_window(tmp_path: Path, use: str) -> None:
    """So that Prometheus can be asked for each of them."""
    rules = load(tmp_path, f"prometheus: {{url: 'http://prometheus:9090', use: {use}}}")
    rates = [rule for rule in rules if rule.is_over_time]
    assert rates
    assert all(rule.window for rule in rates)


@pytest.mark.parametrize(("max_age", "is_right"), [("29s", True), ("30s", False), ("31s", False)])
def test_a_window_has_room_for_two_scrapes(tmp_path: Path, max_age: str, *, is_right: bool) -> None:
    """A page that is reused for longer would never give a rate."""
    rule = f"{{name: a, source: pods, window: 30s, {RATE}}}"
    exporters = f"exporters: {{maxAge: {max_age}}}"
    load(tmp_path, f"{exporters}\nrules: [{rule.replace('30s', '0s')}]")
    if is_right:
        load(tmp_path, f"{exporters}\nrules: [{rule}]")
        return
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, f"{exporters}\nrules: [{rule}]")
    assert str(raised.value).endswith(
        "rules.0 (a) needs two scrapes of a pod within its window of 30 s, but exporters.maxAge is "
        f"{max_age[:-1]} s: make it shorter than the window"
    )
