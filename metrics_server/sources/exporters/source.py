"""Measures pods from the pages of the exporters on their nodes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Protocol

from metrics_server.common.text import listed, named
from metrics_server.errors import ScrapeError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection, Gap, PodSample
from metrics_server.rules.model import MetricRule
from metrics_server.sources.exporters.dialects import PodName
from metrics_server.sources.exporters.hints import hints
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.pod_mapper import Attribution
from metrics_server.sources.exporters.selecting import Choice, Unmatched
from metrics_server.sources.exporters.targets import Targets
from metrics_server.sources.pages.parsing import Parser
from metrics_server.sources.pages.scraper import Scrapes
from metrics_server.sources.turns import Turns

# A value up to this factor above the rule's maximum counts as the maximum, as a profiling ratio can
# be a little above 1. A higher value is rejected.
_TOLERANCE = 1.01
# Where nothing better is known.
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

        Of a question with a series selector, only the GPUs that match count, and a pod without one
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
        gaps = [*self._gaps(rule, uncovered, targets, pages)]
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

    def _gaps(
        self,
        rule: MetricRule,
        uncovered: Sequence[Pod],
        targets: Mapping[str, Sequence[str]],
        pages: Mapping[str, Page | ScrapeError],
    ) -> Iterator[Gap]:
        """Return why pods are not covered, the cause to fix first at the front."""
        nodes: dict[str, None] = {}
        failures: dict[str, str] = {}
        answered: dict[str, Page] = {}
        without_sample: list[Pod] = []
        for pod in uncovered:
            urls = targets[pod.node]
            if not urls:
                nodes[f"node {pod.node}" if pod.node else "any node"] = None
                continue
            failed = False
            for url in urls:
                page = pages[url]
                if isinstance(page, ScrapeError):
                    failures[url] = failure(url, page)
                    failed = True
                else:
                    answered[url] = page
            if not failed:
                without_sample.append(pod)
        if nodes:
            why = self._why_none() or _WHY_NONE
            yield Gap("no-exporter", f"no exporter is ready on {listed(tuple(nodes))} ({why})")
        if failures:
            yield Gap("exporters-failed", listed(tuple(failures.values()), "; "))
        if without_sample:
            names = named("pod", [pod.name for pod in without_sample])
            yield Gap("no-sample", f"the exporters answered but gave no value for {names}")
            for hint in hints(rule, without_sample, answered.values()):
                yield Gap("no-sample", hint)


def failure(url: str, error: ScrapeError) -> str:
    """Return what is reported about an exporter that could not be read."""
    return f"exporter {url} {error}"


def sample_of(
    rule: MetricRule,
    pod: Pod,
    read: Sequence[tuple[Page, Attribution]],
    were_selected: Callable[[frozenset[PodName]], bool],
    choice: Choice,
) -> PodSample | None:
    """Return the sample of a pod, from the pages of its node's exporters; None if it has none.

    Args:
        rule: the rule of the metric.
        pod: the pod to measure.
        read: the pages that may describe it.
        were_selected: returns whether all of these pods were selected.
        choice: which of its GPUs do not count.
    """
    name = (pod.namespace, pod.name)
    left_out = choice.left_out
    named = [one for one in read if name in one[1].by_pod or name in one[1].incomplete]
    gpus: dict[str, float] = {}
    missing: set[str] = set()
    shared = False
    for page, attribution in named:
        missing |= attribution.incomplete.get(name, frozenset())
        for group in attribution.shared.get(name, ()):
            if not were_selected(group):
                shared = shared or not left_out or _is_of_others(page, name, group, left_out)
        for gpu, value in attribution.by_pod.get(name, {}).items():
            if gpu in left_out:
                continue
            if 0 <= value <= rule.maximum * _TOLERANCE:
                gpus.setdefault(gpu, min(value, rule.maximum))
            else:
                missing.add(gpu)
    if not gpus or missing - gpus.keys() - left_out:
        return None
    # If it requests exactly these, each of them exclusively, there can be no others.
    is_exact = len(gpus) == pod.gpus and not pod.shareable
    if not is_exact and not _are_all(pod, gpus.keys(), left_out, read):
        return None
    # Exporters that together name more GPUs than the pod has are on different nodes: one is stale.
    if len(named) > 1 and 0 < pod.gpus < len(gpus.keys() | left_out):
        return None
    return PodSample(
        pod=pod.name,
        gpus=tuple(gpus[gpu] for gpu in sorted(gpus)),
        timestamp=min(page.timestamp for page, _ in named),
        shared=shared,
    )


def _is_of_others(
    page: Page, pod: PodName, group: frozenset[PodName], left_out: AbstractSet[str]
) -> bool:
    """Return whether a group of pods shares a GPU of a pod that is not left out."""
    inventory = page.inventory()
    counted = inventory.by_pod[pod].gpus.keys() - left_out
    return any(group <= inventory.pods[gpu] for gpu in counted)


def has_only(
    pod: Pod, left_out: AbstractSet[str], read: Sequence[tuple[Page, Attribution]]
) -> bool:
    """Return whether all GPUs of a pod are left out."""
    return _are_all(pod, frozenset(), left_out, read)


def _are_all(
    pod: Pod,
    gpus: AbstractSet[str],
    left_out: AbstractSet[str],
    read: Iterable[tuple[Page, Attribution]],
) -> bool:
    """Return whether these are all GPUs of a pod, as far as the pages of its node show.

    If it requests more than the pages name, some GPUs have no row at all, unless the pod shares its
    GPUs with other pods: then several of the requested units may be on one GPU.

    Args:
        pod: the pod.
        gpus: its GPUs that have a value.
        left_out: its GPUs that do not count.
        read: the pages.
    """
    units: dict[str, int] = {}
    shared = False
    for page, _ in read:
        inventory = page.inventory()
        holding = inventory.by_pod.get((pod.namespace, pod.name))
        if holding is not None:
            # A value of a GPU as a whole covers its instance too.
            without = holding.gpus.keys() - gpus - left_out
            if any(inventory.wholes.get(gpu) not in gpus for gpu in without):
                return False
            units |= {gpu: max(of, units.get(gpu, 0)) for gpu, of in holding.gpus.items()}
            shared = shared or holding.shared
    return shared or sum(units.values()) >= pod.gpus - pod.shareable


def has_drained(rule: MetricRule, pod: Pod, pages: Sequence[Page]) -> bool:
    """Return whether a terminating pod has released its GPUs: the pages list GPUs, but not its.

    Args:
        rule: the rule of the metric.
        pod: a pod without a sample.
        pages: the pages of all exporters of its node.
    """
    name = (pod.namespace, pod.name)
    read = [page.attribution(rule.readings) for page in pages]
    return (
        pod.terminating
        and any(one.unattributed or one.names_pods for one in read)
        and not any(name in page.inventory().by_pod for page in pages)
    )


def of_its_node(
    pod: Pod, read: list[tuple[Page, Attribution]], hosts: frozenset[str]
) -> list[tuple[Page, Attribution]]:
    """Return the pages that may describe a pod.

    An exporter keeps naming a pod that is gone, and a pod of the same name may already run on
    another node. An exporter's name for its node need not be the Node's name: before 3.x it is that
    of the exporter's own pod. So a page is ignored only if it names another node that is known
    here, or if another page, which names pods, names the pod's node.
    """
    called = names_of(pod.node)
    own = [one for one in read if one[1].names_pods and not one[1].hosts.isdisjoint(called)]
    return own or [one for one in read if one[1].hosts.isdisjoint(hosts)]


def names_of(node: str) -> tuple[str, ...]:
    """Return the names that exporters may use for a node: its full name and its first part."""
    first = node.partition(".")[0]
    # A name that begins with a digit may be an address, whose first part is not a name.
    return (node,) if first == node or node[:1].isdigit() else (node, first)
