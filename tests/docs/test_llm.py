"""The guide to LLM serving: what readers copy works."""

import re
from pathlib import Path

import yaml

from metrics_server.advising.checks import check
from metrics_server.config.pod_pages import check_pod_pages
from metrics_server.config.sections import Config
from metrics_server.rules.engines.registry import ENGINES
from metrics_server.rules.lookup import Rules
from metrics_server.rules.serving import SERVING
from tests.advising.manifests import decode, setup

GUIDE = (Path(__file__).parents[2] / "docs" / "llm.md").read_text("utf-8")
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]


def test_the_rules_are_a_configuration() -> None:
    """The server accepts each of them."""
    rules = [block for block in BLOCKS if "rules" in block]
    assert len(rules) == 2
    for block in rules:
        (rule,) = Config.model_validate(block).rules
        assert rule.rule().sources == ("pods",)


def test_the_endpoints_are_a_configuration() -> None:
    """They are for existing metrics, and only the picker's has credentials."""
    configs = [Config.model_validate(block).pod_pages for block in BLOCKS if "podPages" in block]
    assert len(configs) == 2
    for config in configs:
        check_pod_pages(config, Rules(SERVING))
    entries = [entry for config in configs for entry in config.endpoints]
    (picker,) = (one for one in entries if one.auth.has_credentials)
    assert picker.metrics == ("inference_*",)


def test_the_hpas_are_ones_that_work() -> None:
    """The server has no warning for them."""
    hpas = [block for block in BLOCKS if block.get("kind") == "HorizontalPodAutoscaler"]
    assert hpas
    for block in hpas:
        block["metadata"] |= {"namespace": "default", "uid": "u"}
        hpa = decode(block)
        assert hpa.metrics
        assert check(hpa, (), setup()) == ()


def test_every_metric_has_its_row() -> None:
    """Except the sums and maxima, which their rows mention."""
    rows = set(
        re.findall(
            r"^\| `((?:llm|inference)_[a-z0-9_]+)` \| [a-z/]+[,a-z0-9 ]* \| ", GUIDE, re.MULTILINE
        )
    )
    assert rows == {metric for engine in ENGINES for metric in engine.metrics}
    assert rows <= {rule.name for rule in SERVING}
