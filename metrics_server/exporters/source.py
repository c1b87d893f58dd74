"""Measures pods by the pages of the exporters on their nodes."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from metrics_server.errors import ScrapeError
from metrics_server.exporters.scraper import Page, Scraper
from metrics_server.exporters.targets import Targets
from metrics_server.kube.pods import Pod
from metrics_server.rules import MetricRule
from metrics_server.samples import Collection, PodSample, TargetFailure


class ExporterSource:
    """A MetricSource that scrapes just the nodes that run the pods in question.

    Args:
        targets: where the exporters of a node are.
        scraper: reads their pages.
    """

    def __init__(self, targets: Targets, scraper: Scraper) -> None:
        self._targets = targets
        self._scraper = scraper

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods, all of one namespace, now."""
        targets = self._targets.on_nodes({pod.node for pod in pods})
        pages = await self._scraper.scrape({url for urls in targets.values() for url in urls})
        samples: list[PodSample] = []
        uncovered: list[Pod] = []
        for pod in pods:
            sample = _sample(rule, pod, [pages[url] for url in targets[pod.node]])
            if sample is None:
                uncovered.append(pod)
            else:
                samples.append(sample)
        measured = Collection(len(pods), tuple(samples))
        return _with_gaps(measured, rule, uncovered, targets, pages) if uncovered else measured


def _sample(rule: MetricRule, pod: Pod, pages: Sequence[Page | ScrapeError]) -> PodSample | None:
    gpus: dict[str, float] = {}
    oldest = float("inf")
    for page in pages:
        if isinstance(page, ScrapeError):
            continue
        values = page.attribution(rule.readings).by_pod.get((pod.namespace, pod.name))
        if values:
            gpus.update(values)
            oldest = min(oldest, page.timestamp)
    if not gpus:
        return None
    # A profiling ratio can read a little above 1; no GPU is busier than all of the time.
    return PodSample(tuple(min(value, rule.maximum) for value in gpus.values()), oldest)


def _with_gaps(
    measured: Collection,
    rule: MetricRule,
    uncovered: Sequence[Pod],
    targets: Mapping[str, Sequence[str]],
    pages: Mapping[str, Page | ScrapeError],
) -> Collection:
    """The collection with what is known of the pods that it does not cover."""
    nodes: dict[str, None] = {}
    failures: dict[str, TargetFailure] = {}
    answered: dict[str, Page] = {}
    without_sample: list[str] = []
    for pod in uncovered:
        urls = targets[pod.node]
        if not urls:
            nodes[f"node {pod.node}" if pod.node else "any node"] = None
            continue
        failed = False
        for url in urls:
            page = pages[url]
            if isinstance(page, ScrapeError):
                failures[url] = TargetFailure(url, str(page))
                failed = True
            else:
                answered[url] = page
        if not failed:
            without_sample.append(f"pod {pod.name}")
    return structs.replace(
        measured,
        nodes_without_exporter=tuple(nodes),
        failures=tuple(failures.values()),
        pods_without_sample=tuple(without_sample),
        hints=tuple(_hints(rule, answered.values())) if without_sample else (),
    )


def _hints(rule: MetricRule, pages: Iterable[Page]) -> Iterable[str]:
    """What pages that answered tell of why they have no value for a pod."""
    empty = rejected = conflicting = 0
    unlabelled = False
    for page in pages:
        attribution = page.attribution(rule.readings)
        empty += not page.body
        rejected += attribution.rejected
        conflicting += attribution.conflicting
        named = attribution.by_pod or attribution.rejected or attribution.conflicting
        unlabelled |= attribution.unattributed > 0 and not named
    if empty:
        yield "a page was empty, as it is until a new exporter's first interval has passed"
    if unlabelled:
        yield (
            "the page names no pods at all: the exporter needs DCGM_EXPORTER_KUBERNETES=true and "
            "the kubelet's pod-resources socket"
        )
    if rejected:
        yield f"{rejected} values were out of range and not believed"
    if conflicting:
        yield f"{conflicting} GPUs had two different values and were not believed"
