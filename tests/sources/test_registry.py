"""The sources that rules can name, and building them."""

from typing import get_args

from metrics_server.config.rule_sources import SourceName
from metrics_server.config.rules import rules_in_force
from metrics_server.sources.registry import BUILDERS


def test_each_source_that_a_rule_can_name_can_be_built() -> None:
    """The configuration accepts exactly the names of existing sources."""
    assert set(BUILDERS) == set(get_args(SourceName))


def test_the_rules_of_the_catalogue_name_sources_that_there_are() -> None:
    """The catalogue includes gauges here, and Prometheus as their second source."""
    rules = rules_in_force((), gauges=True, prometheus="second")
    named = {name for metric in rules.known() for name in rules.find(metric).sources}
    assert named <= set(BUILDERS)
