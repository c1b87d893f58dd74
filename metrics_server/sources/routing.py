"""Measures each rule by its own sources."""

from collections.abc import Mapping, Sequence

from msgspec import structs

from metrics_server.errors import NoSeriesMatchesError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection, MetricSource
from metrics_server.rules.model import MetricRule


class SourcesOfEachRule:
    """A MetricSource that measures by the sources that a rule names.

    The second source of a rule is asked only about the pods that the first has no value for.

    Args:
        sources: every source, by name.
    """

    def __init__(self, sources: Mapping[str, MetricSource]) -> None:
        self._sources = sources

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods, all of one namespace, now."""
        first, *others = rule.sources
        found = await self._collect(first, rule, pods)
        for name in others:
            known = {sample.pod for sample in found.samples}.union(found.drained, found.excluded)
            missing = [pod for pod in pods if pod.name not in known]
            if not missing:
                break
            try:
                more = await self._collect(name, rule, missing)
            except NoSeriesMatchesError:
                if not found.samples:
                    raise
                excluded = frozenset(pod.name for pod in missing)
                more = Collection(0, (), fresh_until=found.fresh_until, excluded=excluded)
            found = _together(found, more)
        return found

    async def _collect(self, name: str, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        found = await self._sources[name].collect(rule, pods)
        return structs.replace(found, source=name)


def _together(first: Collection, second: Collection) -> Collection:
    """Return what two sources found, the second for the pods that the first had no value for."""
    sources = sorted(one.source for one in (first, second) if one.samples)
    complete = len(second.samples) + len(second.drained) == second.selected
    return Collection(
        selected=first.selected - len(second.excluded),
        samples=first.samples + second.samples,
        gaps=() if complete else first.gaps + second.gaps,
        fresh_until=min(first.fresh_until, second.fresh_until),
        drained=first.drained + second.drained,
        excluded=first.excluded | second.excluded,
        source="+".join(sources) if sources else first.source,
    )
