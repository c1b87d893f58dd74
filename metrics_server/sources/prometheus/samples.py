"""From what Prometheus returned for a namespace to the samples of the pods in question."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from msgspec import Struct

from metrics_server.common.text import listed
from metrics_server.errors import QueryError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection, Gap, PodSample
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.exporters.dialects import PodName
from metrics_server.sources.exporters.hints import hints
from metrics_server.sources.exporters.source import has_drained, names_of, sample_of
from metrics_server.sources.pods.series import NoValue, Part, part_of, value_of
from metrics_server.sources.pods.track import Increase, Series
from metrics_server.sources.prometheus.gpus import ScrapedPage
from metrics_server.sources.prometheus.moment import Turns
from metrics_server.sources.prometheus.pages import PagesOfPod
from metrics_server.sources.prometheus.queries import Result, samples_of

# What a page takes besides its text: its rows, read.
_BYTES_PER_BYTE = 6
# How many rows of a page are read in the time that a pod's GPUs take.
_ROWS_OF_POD = 10


class Found(Struct, frozen=True):
    """What the queries for a rule returned, for all pods of a namespace.

    Attributes:
        fresh_until: how long it is used, by the monotonic clock.
        gpus: the exporters' pages that name the pods.
        by_pod: the pages that name each pod.
        pages: the pods' own pages.
        result: of a query of the user's own.
        error: why there is none of these.
        warnings: what Prometheus remarked.
    """

    fresh_until: float
    gpus: tuple[ScrapedPage, ...] = ()
    by_pod: Mapping[PodName, Sequence[ScrapedPage]] = {}
    pages: Mapping[str, PagesOfPod] = {}
    result: Result | None = None
    error: QueryError | None = None
    warnings: tuple[str, ...] = ()

    def __sizeof__(self) -> int:
        bodies = sum(len(page.page.body) for page in self.gpus)
        for one in self.pages.values():
            if not isinstance(one.pages, NoValue):
                bodies += sum(len(page.body) for page in one.pages)
        return bodies * _BYTES_PER_BYTE + 256


class _Samples:
    """The samples of pods, and why others have none, as they are found."""

    def __init__(self) -> None:
        self.samples: list[PodSample] = []
        self.drained: list[str] = []
        self.gaps: list[Gap] = []


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
        into.gaps.append(Gap("no-sample", f"Prometheus remarked: {found.warnings[0]}"))
    return Collection(
        selected=len(pods),
        samples=tuple(into.samples),
        gaps=tuple(into.gaps),
        fresh_until=found.fresh_until,
        drained=tuple(into.drained),
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
    uncovered: list[Pod] = []
    pages: dict[int, ScrapedPage] = {}
    turns = Turns()
    for pod in pods:
        await turns.next(_ROWS_OF_POD)
        own = frozenset(names_of(pod.node))
        naming = [
            one
            for one in found.by_pod.get((pod.namespace, pod.name), ())
            if (one.node not in hosts or one.node in own) and one.time >= pod.created
        ]
        sample = sample_of(rule, pod, [one.page for one in naming], were_selected, hosts)
        if sample is not None:
            into.samples.append(sample)
        elif pod.terminating and _has_drained(rule, pod, found.gpus, own):
            into.drained.append(pod.name)
        elif naming:
            uncovered.append(pod)
            pages |= {id(one): one for one in naming}
        else:
            unnamed.append(pod.name)
    into.gaps += _gaps_of_gpus(rule, unnamed, uncovered, list(pages.values()), max_age)


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


def _gaps_of_gpus(
    rule: MetricRule,
    unnamed: Sequence[str],
    uncovered: Sequence[Pod],
    pages: Sequence[ScrapedPage],
    max_age: float,
) -> Iterator[Gap]:
    """Return why pods have no sample, the cause to fix first at the front."""
    if unnamed:
        yield Gap(
            "no-sample",
            f"Prometheus has no series that {rule.name} is read from, such as "
            f"{rule.readings[0].family}, for pod {listed(unnamed)}: does it scrape the exporter of "
            "the pod's node, and does the exporter name pods?",
        )
    stale = [one for one in pages if one.stale is not None]
    if stale:
        worst = max(one.stale or 0 for one in stale)
        yield Gap(
            "no-sample",
            f"Prometheus has samples of exporter {listed([one.page.target for one in stale])} that "
            f"are {worst:.0f} s old, and prometheus.maxAge is {max_age:g} s: is it still scraped?",
        )
    if uncovered:
        names = listed([pod.name for pod in uncovered])
        yield Gap("no-sample", f"what Prometheus has gives no value for pod {names}")
        if not stale:
            for hint in hints(rule, uncovered, [one.page for one in pages]):
                yield Gap("no-sample", hint)


async def _add_of_pages(
    into: _Samples, rule: MetricRule, found: Found, pods: Sequence[Pod]
) -> None:
    """Add the samples of pods by their own pages."""
    unnamed: list[str] = []
    without: dict[str, list[str]] = {}
    turns = Turns()
    for pod in pods:
        of_pod = found.pages.get(pod.name)
        if of_pod is None:
            unnamed.append(pod.name)
            continue
        if not isinstance(of_pod.pages, NoValue):
            await turns.next(sum(page.lines for page in of_pod.pages))
        sample = _sample_of_page(rule, pod, of_pod)
        if isinstance(sample, NoValue):
            without.setdefault(sample.why, []).append(pod.name)
        else:
            into.samples.append(sample)
    for why, names in without.items():
        into.gaps.append(Gap("no-sample", f"the page of pod {listed(names)} {why}"))
    if unnamed:
        into.gaps.append(
            Gap(
                "no-sample",
                f"Prometheus has no series that {rule.name} is read from, such as "
                f"{rule.readings[0].family}, for pod {listed(unnamed)}: does it scrape the pod, "
                "and keep its namespace and name in labels?",
            )
        )


def _sample_of_page(rule: MetricRule, pod: Pod, of_pod: PagesOfPod) -> PodSample | NoValue:
    if isinstance(of_pod.pages, NoValue):
        return of_pod.pages

    def increase(_: Reading, series: Series) -> Increase:
        # The rows are increases already.
        return Increase(of_pod.seconds, series)

    parts: list[Part] = []
    for page in of_pod.pages:
        part = part_of(rule, page, increase)
        if isinstance(part, NoValue):
            return part
        parts.append(part)
    value = value_of(rule, parts)
    if isinstance(value, NoValue):
        return value
    return PodSample(pod.name, (value,), min(page.timestamp for page in of_pod.pages))


def _add_of_result(into: _Samples, rule: MetricRule, result: Result, pods: Sequence[Pod]) -> None:
    """Add the samples of pods by a query of the user's own."""
    without: dict[str, list[str]] = {}
    for pod, sample in samples_of(rule, result, pods):
        if isinstance(sample, str):
            without.setdefault(sample, []).append(pod.name)
        else:
            into.samples.append(sample)
    for why, names in without.items():
        into.gaps.append(Gap("no-sample", f"pod {listed(names)}: {why}"))
