"""Measures pods from the pages of the exporters on their nodes."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Protocol

from metrics_server.common.text import listed, named
from metrics_server.errors import ScrapeError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection, Gap, PodSample
from metrics_server.rules.model import MetricRule
from metrics_server.sources.exporters.hints import PagesOfPod, hints
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.sampling import (
    has_drained,
    has_only,
    names_of,
    of_its_node,
    sample_of,
)
from metrics_server.sources.exporters.selecting import Unmatched
from metrics_server.sources.exporters.targets import Targets
from metrics_server.sources.pages.parsing import Parser
from metrics_server.sources.pages.scraper import Scrapes
from metrics_server.sources.turns import Turns

# The clause if the reason is not known.
_WHY_NONE = "is one Running there, and its Service listed under exporters.services?"


class Scraping(Protocol):
    """The method of a `Scraper` that is needed here."""

    async def scrape(self, targets: Iterable[str]) -> Scrapes[Page]:
        """Return the page of each URL, or its error."""
        ...


class ExporterSource:
    """A MetricSource that scrapes just the nodes that run the pods in question.

    Args:
        targets: where the exporters of a node are.
        scraper: reads their pages.
        why_none: returns why a node may have no exporter, as a clause, or "" if that is not known.
        parser: parses them; by default with the default patience.
    """

    def __init__(
        self,
        targets: Targets,
        scraper: Scraping,
        why_none: Callable[[], str] = str,
        parser: Parser[Page] | None = None,
    ) -> None:
        self._targets = targets
        self._scraper = scraper
        self._parser = parser or Parser()
        self._why_none = why_none

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods, all of one namespace, now.

        A pod is covered if each GPU that a page names for it has an accepted value: a mean over
        only some of its GPUs would not be the pod's value.

        A terminating pod that has released its GPUs counts as drained: it has no sample, but its
        work is known.

        For a question with a series selector, only the GPUs that match count, and a pod without one
        is excluded.

        Raises:
            NoSeriesMatchesError: all pods were read, and none has a GPU that matches `rule.series`.
            AmbiguousSeriesError: two values on the pages have the form that it names.
        """
        targets = self._targets.on_nodes({pod.node for pod in pods})
        scrapes = await self._scraper.scrape({url for urls in targets.values() for url in urls})
        pages = await self._parser.read(scrapes.outcomes, rule.readings)
        selected = frozenset((pod.namespace, pod.name) for pod in pods)
        # Computed once for each group of pods that shares a GPU, not for each pod.
        were_selected = cache(selected.issuperset)
        hosts = frozenset(host for node in targets for host in names_of(node))
        samples: list[PodSample] = []
        uncovered: list[Pod] = []
        drained: list[str] = []
        unmatched = Unmatched(rule)
        turns = Turns()
        for pod in pods:
            await turns.end_if_over()
            outcomes = [pages[url] for url in targets[pod.node]]
            answered = [page for page in outcomes if isinstance(page, Page)]
            read = of_its_node(pod, [(p, p.attribution(rule.readings)) for p in answered], hosts)
            choice = unmatched.choose(pod, [page for page, _ in read])
            sample = None if choice.unclear else sample_of(rule, pod, read, were_selected, choice)
            if sample is not None:
                samples.append(sample)
            elif choice.left_out and has_only(pod, choice.left_out, read):
                unmatched.exclude(pod, answered)
            elif len(answered) < len(outcomes) or not has_drained(rule, pod, answered):
                uncovered.append(pod)
            else:
                drained.append(pod.name)
        gaps = [one async for one in self._gaps(rule, uncovered, targets, pages)]
        if not samples:
            gaps = [*unmatched.gaps(len(pods) - len(drained)), *gaps]
        return Collection(
            selected=len(pods) - len(unmatched.excluded),
            samples=tuple(samples),
            gaps=tuple(gaps),
            fresh_until=scrapes.fresh_until,
            drained=tuple(drained),
            excluded=frozenset(unmatched.excluded),
        )

    async def _gaps(
        self,
        rule: MetricRule,
        uncovered: Sequence[Pod],
        targets: Mapping[str, Sequence[str]],
        pages: Mapping[str, Page | ScrapeError],
    ) -> AsyncIterator[Gap]:
        """Return why pods are not covered, the cause to fix first at the front."""
        nodes: dict[str, None] = {}
        failures: dict[str, str] = {}
        without_sample: list[PagesOfPod] = []
        for pod in uncovered:
            urls = targets[pod.node]
            if not urls:
                nodes[f"node {pod.node}" if pod.node else "any node"] = None
                continue
            answered: list[Page] = []
            for url in urls:
                page = pages[url]
                if isinstance(page, ScrapeError):
                    failures[url] = failure(url, page)
                else:
                    answered.append(page)
            if len(answered) == len(urls):
                without_sample.append((pod, answered))
        if nodes:
            why = self._why_none() or _WHY_NONE
            yield Gap("no-exporter", f"no exporter is ready on {listed(tuple(nodes))} ({why})")
        if failures:
            yield Gap("exporters-failed", listed(tuple(failures.values()), "; "))
        if without_sample:
            names = named("pod", [pod.name for pod, _ in without_sample])
            yield Gap("no-sample", f"the exporters answered but gave no value for {names}")
            async for hint in hints(rule, without_sample):
                yield Gap("no-sample", hint)


def failure(url: str, error: ScrapeError) -> str:
    """Return what is reported about an exporter that could not be read."""
    return f"exporter {url} {error}"
