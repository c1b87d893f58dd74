"""From what Prometheus returned for a namespace to the samples of the pods in question."""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache

from msgspec import Struct

from metrics_server.common.text import each_of, listed, named
from metrics_server.errors import QueryError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection, Gap, PodSample
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.rules.series import SeriesMatcher
from metrics_server.sources.exporters.dialects import PodName
from metrics_server.sources.exporters.hints import hints
from metrics_server.sources.exporters.sampling import (
    has_drained,
    has_only,
    names_of,
    of_its_node,
    sample_of,
)
from metrics_server.sources.exporters.selecting import Unmatched
from metrics_server.sources.pods.rows import Excluded, NoValue, Unlabelled
from metrics_server.sources.pods.selected import SelectedPage
from metrics_server.sources.pods.series import Part, labels_of, part_of, value_of
from metrics_server.sources.pods.track import Increase, Series
from metrics_server.sources.prometheus.gpus import ScrapedPage
from metrics_server.sources.prometheus.pages import PagesOfPod
from metrics_server.sources.prometheus.queries import Result, samples_of
from metrics_server.sources.turns import Turns
from metrics_server.sources.unmatched import gap_of_series

# How many rows of a page are read in the time that a pod's GPUs take.
_ROWS_OF_POD = 10


class Found(Struct, frozen=True):
    """The results of the queries for a rule, for all pods of a namespace.

    Attributes:
        fresh_until: how long it is used, by the monotonic clock.
        gpus: the exporters' pages that name the pods.
        by_pod: the pages that name each pod.
        late: which pages took too long to parse, in words.
        pages: the pods' own pages.
        result: of a query of the user's own.
        error: why there is none of these.
        warnings: what Prometheus reported.
        size: how many bytes it takes.
    """

    fresh_until: float
    gpus: tuple[ScrapedPage, ...] = ()
    by_pod: Mapping[PodName, Sequence[ScrapedPage]] = {}
    late: tuple[str, ...] = ()
    pages: Mapping[str, PagesOfPod] = {}
    result: Result | None = None
    error: QueryError | None = None
    warnings: tuple[str, ...] = ()
    size: int = 0


class _Samples:
    """The samples of pods, and why others have none, as they are found."""

    def __init__(self) -> None:
        self.samples: list[PodSample] = []
        self.drained: list[str] = []
        self.gaps: list[Gap] = []
        self.excluded: set[str] = set()


async def collection_of(
    rule: MetricRule, found: Found, pods: Sequence[Pod], max_age: float
) -> Collection:
    """Return the samples of some of the pods that were queried."""
    into = _Samples()
    if found.error is not None:
        into.gaps.append(Gap("prometheus-failed", str(found.error)))
    elif found.result is not None:
        _add_of_result(into, rule, found.result, pods)
    elif rule.measures == "gpus":
        await _add_of_gpus(into, rule, found, pods, max_age)
    else:
        await _add_of_pages(into, rule, found, pods)
    if into.gaps and found.warnings:
        into.gaps.append(Gap("no-sample", f"Prometheus reported: {found.warnings[0]}"))
    return Collection(
        selected=len(pods) - len(into.excluded),
        samples=tuple(into.samples),
        gaps=tuple(into.gaps),
        fresh_until=found.fresh_until,
        drained=tuple(into.drained),
        excluded=frozenset(into.excluded),
        source="prometheus",
    )


async def _add_of_gpus(
    into: _Samples, rule: MetricRule, found: Found, pods: Sequence[Pod], max_age: float
) -> None:
    """Add the samples of pods by their exporters' pages."""
    selected = frozenset((pod.namespace, pod.name) for pod in pods)
    were_selected = cache(selected.issuperset)
    hosts = frozenset(host for pod in pods for host in names_of(pod.node))
    unnamed: list[str] = []
    uncovered: list[tuple[Pod, Sequence[ScrapedPage]]] = []
    unmatched = Unmatched(rule)
    turns = Turns()
    for pod in pods:
        await turns.next(_ROWS_OF_POD)
        own = frozenset(names_of(pod.node))
        naming = [
            one
            for one in found.by_pod.get((pod.namespace, pod.name), ())
            if (one.node not in hosts or one.node in own) and one.time >= pod.created
        ]
        read = of_its_node(
            pod, [(one.page, one.page.attribution(rule.readings)) for one in naming], hosts
        )
        choice = unmatched.choose(pod, [page for page, _ in read])
        sample = None if choice.unclear else sample_of(rule, pod, read, were_selected, choice)
        if sample is not None:
            into.samples.append(sample)
        elif choice.left_out and has_only(pod, choice.left_out, read):
            unmatched.exclude(pod, [page for page, _ in read])
        elif pod.terminating and _has_drained(rule, pod, found.gpus, own):
            into.drained.append(pod.name)
        elif naming:
            uncovered.append((pod, naming))
        else:
            unnamed.append(pod.name)
    into.excluded |= unmatched.excluded
    if not into.samples:
        into.gaps += unmatched.gaps(len(pods) - len(into.drained))
    if found.late and (unnamed or uncovered):
        names = named("pod", [*unnamed, *(pod.name for pod, _ in uncovered)])
        into.gaps.append(Gap("no-sample", f"{names}: {listed(found.late, '; ')}"))
        # They may be on that page.
        unnamed = []
    into.gaps += [one async for one in _gaps_of_gpus(rule, unnamed, uncovered, max_age)]


def _has_drained(
    rule: MetricRule, pod: Pod, pages: Sequence[ScrapedPage], called: frozenset[str]
) -> bool:
    """Return whether a terminating pod has released its GPUs, by the pages of its node."""
    own = [
        one.page
        for one in pages
        if one.node in called or not one.page.attribution(rule.readings).hosts.isdisjoint(called)
    ]
    return has_drained(rule, pod, own)


async def _gaps_of_gpus(
    rule: MetricRule,
    unnamed: Sequence[str],
    uncovered: Sequence[tuple[Pod, Sequence[ScrapedPage]]],
    max_age: float,
) -> AsyncIterator[Gap]:
    """Return why pods have no sample, the cause to fix first at the front."""
    if unnamed:
        yield Gap(
            "no-sample",
            f"Prometheus has no series that {rule.name} is read from, such as "
            f"{rule.readings[0].family}, for {named('pod', unnamed)}: does it scrape the exporter "
            "of each pod's node, and does the exporter name pods?",
        )
    pages = {id(one): one for _, of_pod in uncovered for one in of_pod}
    stale = [one for one in pages.values() if one.stale is not None]
    if stale:
        worst = max(one.stale or 0 for one in stale)
        yield Gap(
            "no-sample",
            f"Prometheus has samples of {named('exporter', [one.page.target for one in stale])} "
            f"that are {worst:.0f} s old, and prometheus.maxAge is {max_age:g} s: is it still "
            "scraped?",
        )
    if uncovered:
        names = named("pod", [pod.name for pod, _ in uncovered])
        yield Gap("no-sample", f"what Prometheus has gives no value for {names}")
        if not stale:
            with_pages = [(pod, [one.page for one in of_pod]) for pod, of_pod in uncovered]
            async for hint in hints(rule, with_pages):
                yield Gap("no-sample", hint)


async def _add_of_pages(
    into: _Samples, rule: MetricRule, found: Found, pods: Sequence[Pod]
) -> None:
    """Add the samples of pods by their own pages."""
    unnamed: list[str] = []
    without: dict[str, list[str]] = {}
    unmatched: dict[str, PagesOfPod] = {}
    matcher = SeriesMatcher(rule.series) if rule.series else None
    turns = Turns()
    for pod in pods:
        of_pod = found.pages.get(pod.name)
        if of_pod is None:
            unnamed.append(pod.name)
            continue
        pages = () if isinstance(of_pod.pages, NoValue) else of_pod.pages
        await turns.next(sum(page.lines for page in pages))
        sample = await _sample_of_pages(rule, pod, of_pod, matcher, turns)
        if isinstance(sample, PodSample):
            into.samples.append(sample)
        if isinstance(sample, Excluded | Unlabelled):
            unmatched[pod.name] = of_pod
        if isinstance(sample, Excluded):
            into.excluded.add(pod.name)
        if isinstance(sample, NoValue):
            without.setdefault(sample.why, []).append(pod.name)
    for why, names in without.items():
        into.gaps.append(Gap("no-sample", f"the page of {each_of('pod', names)} {why}"))
    if unnamed:
        into.gaps.append(
            Gap(
                "no-sample",
                f"Prometheus has no series that {rule.name} is read from, such as "
                f"{rule.readings[0].family}, for {named('pod', unnamed)}: does it scrape each pod, "
                "and keep its namespace and name in labels?",
            )
        )
    if unmatched and not into.samples:
        rows = (
            labels
            for of_pod in unmatched.values()
            if not isinstance(of_pod.pages, NoValue)
            for page in of_pod.pages
            for labels in labels_of(rule, page)
        )
        is_all = len(unmatched) == len(pods)
        into.gaps.append(gap_of_series(rule.series, f"no row of {rule.name}", rows, is_all=is_all))


async def _sample_of_pages(
    rule: MetricRule, pod: Pod, of_pod: PagesOfPod, matcher: SeriesMatcher | None, turns: Turns
) -> PodSample | NoValue | Excluded:
    """Return the sample of a pod, which needs all of its pages; or why it has none."""
    pages = of_pod.pages_of(pod)
    if isinstance(pages, NoValue):
        return pages

    def increase(_: Reading, series: Series) -> Increase:
        # The rows are increases already.
        return Increase(of_pod.seconds, series)

    parts: list[Part] = []
    left_out: Excluded | Unlabelled | None = None
    for page in pages:
        selected = SelectedPage(page, matcher) if matcher else None
        if selected:
            await turns.through(selected.searching(rule.readings))
        part = part_of(rule, selected or page, increase)
        if isinstance(part, Part):
            parts.append(part)
        elif isinstance(part, Excluded):
            left_out = left_out or part
        elif isinstance(part, Unlabelled):
            # Nothing shows that the pod is not selected.
            left_out = part
        else:
            return part
    if left_out is not None and (not parts or isinstance(left_out, Unlabelled)):
        return left_out
    value = value_of(rule, parts)
    if isinstance(value, NoValue):
        return value
    return PodSample(pod.name, (value,), min(page.timestamp for page in pages))


def _add_of_result(into: _Samples, rule: MetricRule, result: Result, pods: Sequence[Pod]) -> None:
    """Add the samples of pods by a query of the user's own."""
    without: dict[str, list[str]] = {}
    if rule.series:
        words = f"{rule.name} is a query, whose series cannot be selected by labels"
        into.gaps.append(Gap("no-sample", words))
        return
    for pod, sample in samples_of(rule, result, pods):
        if isinstance(sample, str):
            without.setdefault(sample, []).append(pod.name)
        else:
            into.samples.append(sample)
    for why, names in without.items():
        into.gaps.append(Gap("no-sample", f"{named('pod', names)}: {why}"))
