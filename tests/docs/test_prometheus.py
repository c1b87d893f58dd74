"""docs/prometheus.md works: its configurations, and its queries in a real Prometheus."""

from collections.abc import Iterator

import pytest
import yaml

from metrics_server.config.rules import rules_in_force
from metrics_server.config.sections import Config
from metrics_server.rules.model import MetricRule
from tests.deployments.manifests import DEPLOYMENTS, ROOT, SERVER, find, items, mapping
from tests.deployments.test_groups import combined
from tests.docs.test_guides import blocks
from tests.sources.prometheus.test_promql import Asked
from tests.support.prometheus import Prometheus, running
from tests.support.stored import pod, querying

PAGE = ROOT / "docs" / "prometheus.md"
CONFIGS = [Config.model_validate(yaml.safe_load(block)) for block in blocks(PAGE, "yaml")]


def queries() -> Iterator[MetricRule]:
    """The page's rules that are queries."""
    for config in CONFIGS:
        for one in config.rules:
            if one.query is not None:
                yield one.rule()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus without data."""
    with running(Prometheus(tmp_path_factory.mktemp("prometheus"))) as one:
        yield one


def test_the_configurations_are_valid() -> None:
    """The server accepts all; with `use: only`, its own rules read Prometheus alone."""
    assert len(CONFIGS) == 4
    assert len(list(queries())) == 3
    for config in CONFIGS:
        rules = rules_in_force(config.rules, gauges=True, prometheus=config.prometheus.use)
        if config.prometheus.use == "only":
            for name in ("gpu_utilization", "llm_requests_waiting"):
                assert rules.find(name).sources == ("prometheus",)


@pytest.mark.parametrize("rule", list(queries()), ids=lambda rule: rule.name)
async def test_the_queries_are_valid(prometheus: Prometheus, rule: MetricRule) -> None:
    """Prometheus evaluates them, without data."""
    pods = [pod("web-0"), pod("web-1")]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(rule, pods)
    assert "the query has no value" in found.gaps[0].text


def test_the_queries_by_hand_are_valid(prometheus: Prometheus) -> None:
    """Those that readers copy."""
    asked = Asked(prometheus.url)
    lines = [line for block in blocks(PAGE, "console") for line in block.splitlines()]
    shown = [line.partition("'query=")[2].rstrip("'") for line in lines if "'query=" in line]
    assert len(shown) == 3
    for query in shown:
        assert asked(query) == []
    asked.close()


def test_the_network_policy_opens() -> None:
    """The component opens the namespace in the page's URL to the server, and no other."""
    objects = combined("prometheus")
    egress = items(find(objects, "NetworkPolicy", SERVER), "spec", "egress")
    (own,) = [one for one in map(mapping, egress) if "to" in one]
    labels = {"kubernetes.io/metadata.name": "monitoring"}
    assert own == {"to": [{"namespaceSelector": {"matchLabels": labels}}]}
    assert ".monitoring:" in str(CONFIGS[0].prometheus.url)
    assert (DEPLOYMENTS / "components" / "prometheus").is_dir()
