"""A quantile over several pages of one pod."""

import pytest

from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.pods.rows import NoValue
from metrics_server.sources.pods.series import Part, value_of
from metrics_server.sources.pods.track import Increase

FIRST = Reading("vllm:time_to_first_token_seconds", 0, 60, quantile=0.5)
SECOND = Reading("sglang:time_to_first_token_seconds", 0, 60, quantile=0.5)
RULE = MetricRule("time_to_first_token", "", "seconds", (FIRST, SECOND), 60, measures="pods")

GROWN = Increase(15, {(frozenset(), (1.0, float("inf"))): (4.0, 4.0)})


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Part(grown=GROWN, reading=SECOND), id="another histogram"),
        pytest.param(Part(values=(3.0,)), id="no histogram"),
    ],
)
def test_pages_of_different_engines_have_no_quantile(other: Part) -> None:
    """In either order, buckets of different histograms are not added up."""
    one = Part(grown=GROWN, reading=FIRST)
    assert value_of(RULE, [one, one]) == pytest.approx(0.5)
    for parts in ([one, other], [other, one]):
        found = value_of(RULE, parts)
        assert isinstance(found, NoValue)
        assert "a different engine" in str(found)
