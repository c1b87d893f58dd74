"""The chart's NetworkPolicy lets the server reach what its configuration needs."""

import pytest
import yaml

from metrics_server.config.file import parse_config
from metrics_server.simulator.kube.objects import Json
from metrics_server.wiring.metrics import check_exporters
from tests.deployments.chart import render
from tests.deployments.manifests import SERVER, at, config_of, find, items

pytestmark = pytest.mark.slow


def egress(*arguments: str) -> list[Json]:
    """The NetworkPolicy's egress rules."""
    return items(find(render(*arguments), "NetworkPolicy", SERVER), "spec", "egress")


def in_namespace(name: str) -> Json:
    """A rule for one namespace, with every port."""
    labels: Json = {"kubernetes.io/metadata.name": name}
    return {"to": [{"namespaceSelector": {"matchLabels": labels}}]}


def on_port(port: int) -> Json:
    """A rule for one port on every address."""
    return {"ports": [{"protocol": "TCP", "port": port}]}


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://prometheus-operated.monitoring:9090", in_namespace("monitoring")),
        # Its pods may use another port than its Service.
        ("http://prometheus-server.prom", in_namespace("prom")),
        ("http://thanos.thanos.svc:9090/base", in_namespace("thanos")),
        ("https://vm.metrics.svc.cluster.local", in_namespace("metrics")),
        ("http://prometheus-0.prometheus-operated.monitoring.svc:9090", in_namespace("monitoring")),
        ("http://prometheus:9090", in_namespace("gpus")),
        (
            "http://prometheus-operated.monitoring.svc.cluster.local.:9090",
            in_namespace("monitoring"),
        ),
        ("https://mimir.example.com/prometheus", on_port(443)),
        # Not a Service, whose name would precede its namespace.
        ("https://metrics.svc.example.com", on_port(443)),
        ("https://metrics.svc", on_port(443)),
        ("http://mimir.example.com/prometheus", on_port(80)),
        ("http://192.0.2.7:8428", on_port(8428)),
        ("http://[2001:db8::1]:9090", on_port(9090)),
    ],
)
def test_a_configured_prometheus_can_be_reached(url: str, rule: Json) -> None:
    """A Service's namespace, or for a host outside the cluster, the port."""
    without = egress("--namespace=gpus")
    assert egress("--namespace=gpus", f"--set=config.prometheus.url={url}") == [*without, rule]


def test_where_prometheus_is_can_be_said() -> None:
    """Peers and ports from the values replace those from the URL."""
    url = "--set=config.prometheus.url=https://mimir.example.com"
    ports = "--set=networkPolicy.prometheus.ports={8443,web}"
    to = '--set-json=networkPolicy.prometheus.to=[{"ipBlock":{"cidr":"192.0.2.0/28"}}]'
    peers: Json = [{"ipBlock": {"cidr": "192.0.2.0/28"}}]
    listed: Json = [{"protocol": "TCP", "port": 8443}, {"protocol": "TCP", "port": "web"}]
    assert egress(url, ports)[-1] == {"ports": listed}
    assert egress(url, to)[-1] == {"to": peers}
    assert egress(url, to, ports)[-1] == {"to": peers, "ports": listed}


def test_exporters_by_url_can_be_reached() -> None:
    """Their ports are added to the values' own, each once."""
    urls = "http://192.0.2.7:9400/metrics,http://192.0.2.8:9500/metrics,https://192.0.2.9/metrics"
    rules = egress("--set=exporters.preset=none", f"--set=config.exporters.urls={{{urls}}}")
    ports = [at(port, "port") for rule in rules for port in items(rule, "ports")]
    assert ports == [53, 53, 443, 6443, 8443, 9400, 9500, 443]


def test_without_exporters_their_ports_are_closed() -> None:
    """Then everything is read from Prometheus, which the server accepts as well."""
    arguments = (
        "--set=exporters.preset=none",
        "--set=config.prometheus.url=http://prometheus.monitoring:9090",
        "--set=config.prometheus.use=only",
    )
    rules = egress(*arguments)
    ports = [at(port, "port") for rule in rules for port in items(rule, "ports")]
    assert ports == [53, 53, 443, 6443, 8443]
    assert rules[-1] == in_namespace("monitoring")
    assert egress(*arguments, "--set=networkPolicy.exporterPorts=null") == rules
    config = config_of(render(*arguments))
    assert at(config, "exporters", "services") == []
    parsed = parse_config(yaml.safe_dump(config).encode(), "the chart's")
    check_exporters(parsed.exporters, (), are_needed=parsed.prometheus.use != "only")


def test_the_ports_of_urls_are_enough() -> None:
    """They are listed, so no other is needed."""
    url = "--set=config.exporters.urls={http://192.0.2.8:9500/metrics}"
    rules = egress("--set=exporters.preset=none", url, "--set=networkPolicy.exporterPorts=null")
    assert rules[-1] == on_port(9500)
