"""Each rule has its source."""

from collections.abc import Mapping, Sequence

from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection, MetricSource
from metrics_server.rules.model import MetricRule, PageSource


class SourceOfEachRule:
    """A MetricSource that measures by the source that a rule names.

    Args:
        sources: every source, by name.
    """

    def __init__(self, sources: Mapping[PageSource, MetricSource]) -> None:
        self._sources = sources

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods, all of one namespace, now."""
        return await self._sources[rule.source].collect(rule, pods)
