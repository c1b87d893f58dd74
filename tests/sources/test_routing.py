"""A rule with several sources: the second gets the pods that the first cannot measure."""

from collections.abc import Mapping, Sequence

import pytest
from msgspec import structs

from metrics_server.config.rule_sources import used_with
from metrics_server.errors import NoSeriesMatchesError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection, Gap, PodSample
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import MetricRule
from metrics_server.sources.routing import SourcesOfEachRule
from tests.support.stored import pod

RULE = used_with(CATALOGUE[0], "second")
PODS = [pod("a"), pod("b"), pod("c")]


class Fixed:
    """A source that has values for some pods."""

    def __init__(
        self, name: str, values: Mapping[str, float], drained: tuple[str, ...] = ()
    ) -> None:
        self.asked: list[list[str]] = []
        self._name = name
        self._values = values
        self._drained = drained

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Its values."""
        assert rule.name == RULE.name
        self.asked.append([pod.name for pod in pods])
        names = {pod.name for pod in pods}
        samples = tuple(
            PodSample(name, (value,), 0) for name, value in self._values.items() if name in names
        )
        drained = tuple(name for name in self._drained if name in names)
        complete = len(samples) + len(drained) == len(pods)
        gaps = () if complete else (Gap("no-sample", f"not by {self._name}"),)
        fresh = {"exporters": 2.0, "prometheus": 1.0}[self._name]
        return Collection(len(pods), samples, gaps, fresh, drained)


@pytest.mark.parametrize(
    ("first", "drained", "second", "expected"),
    [
        ({"a": 1, "b": 2, "c": 3}, (), {}, ([], "exporters", 0)),
        ({"a": 1, "b": 2}, ("c",), {}, ([], "exporters", 0)),
        ({"a": 1}, (), {"b": 2, "c": 3}, ([["b", "c"]], "exporters+prometheus", 0)),
        ({"a": 1}, (), {"b": 2}, ([["b", "c"]], "exporters+prometheus", 2)),
        ({}, (), {"a": 1, "b": 2, "c": 3}, ([["a", "b", "c"]], "prometheus", 0)),
        ({"a": 1}, (), {}, ([["b", "c"]], "exporters", 2)),
    ],
)
async def test_the_second_source(
    first: Mapping[str, float],
    drained: tuple[str, ...],
    second: Mapping[str, float],
    expected: tuple[list[list[str]], str, int],
) -> None:
    """The second source gets only these pods, and the answer says which sources it used."""
    asked, source, gaps = expected
    exporters, prometheus = Fixed("exporters", first, drained), Fixed("prometheus", second)
    routed = SourcesOfEachRule({"exporters": exporters, "prometheus": prometheus})
    found = await routed.collect(RULE, PODS)
    assert exporters.asked == [["a", "b", "c"]]
    assert prometheus.asked == asked
    assert {one.pod: one.gpus[0] for one in found.samples} == {**first, **second}
    assert (found.selected, found.drained, found.source) == (3, drained, source)
    assert [gap.text for gap in found.gaps] == ["not by exporters", "not by prometheus"][:gaps]
    assert found.fresh_until == (1 if asked else 2)


async def test_the_order_of_preference_does_not_change_the_name() -> None:
    """Of two sources, Prometheus is named last."""
    exporters, prometheus = (
        Fixed("exporters", {"a": 1, "b": 2, "c": 3}),
        Fixed("prometheus", {"a": 9}),
    )
    routed = SourcesOfEachRule({"exporters": exporters, "prometheus": prometheus})
    rule = structs.replace(RULE, sources=("prometheus", "exporters"))
    found = await routed.collect(rule, PODS)
    assert exporters.asked == [["b", "c"]]
    assert found.source == "exporters+prometheus"


class Unmatched:
    """A source whose rows do not match the question's series selector."""

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Exclude all pods."""
        raise NoSeriesMatchesError(f"{rule.name}: none of {len(pods)} pods")


async def test_what_the_second_source_excludes() -> None:
    """Excluded pods are not part of the answer; if there are no others, it is an error."""
    exporters = Fixed("exporters", {"a": 1})
    routed = SourcesOfEachRule({"exporters": exporters, "prometheus": Unmatched()})
    found = await routed.collect(RULE, PODS)
    assert [one.pod for one in found.samples] == ["a"]
    assert (found.selected, set(found.excluded), found.gaps) == (1, {"b", "c"}, ())
    with pytest.raises(NoSeriesMatchesError):
        await routed.collect(RULE, PODS[1:])


def test_how_prometheus_is_used() -> None:
    """A rule that names Prometheus is not changed; others follow the setting."""
    rule = CATALOGUE[0]
    assert used_with(rule, "named") is rule
    assert used_with(rule, "second").sources == ("exporters", "prometheus")
    assert used_with(rule, "only").sources == ("prometheus",)
    named = structs.replace(rule, sources=("prometheus", "exporters"))
    assert used_with(named, "only") is named
