"""Measures pods by their own metrics pages."""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from metrics_server.common.text import each_of, named
from metrics_server.errors import ScrapeError
from metrics_server.kube.pod_endpoints import PodEndpoint
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection, Gap, PodSample
from metrics_server.rules.model import Endpoint, MetricRule
from metrics_server.rules.series import SeriesMatcher
from metrics_server.sources.pages.parsing import Parser
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.sources.pods.history import History
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.rows import Excluded, NoValue, Unlabelled
from metrics_server.sources.pods.selected import SelectedPage
from metrics_server.sources.pods.series import Part, labels_of, value_of
from metrics_server.sources.pods.targets import NoTargetError
from metrics_server.sources.pods.ways import Way, Ways, merged
from metrics_server.sources.turns import Turns
from metrics_server.sources.unmatched import gap_of_series

Locate = Callable[[PodEndpoint | None, Endpoint], Sequence[str]]
"""Returns the URLs of a pod's pages, at least one, or raises a NoTargetError."""


class PodSource:
    """A MetricSource that scrapes the pods in question themselves.

    Args:
        locate: where a pod's pages are.
        scraper: reads the pages.
        ways: how they are reached; by default all by plain requests.
        parser: parses them; by default with the default patience.
        history: the earlier scrapes for rates and quantiles; by default with the default limit.
    """

    def __init__(
        self,
        locate: Locate,
        scraper: Scraper[PodPage],
        ways: Ways | None = None,
        parser: Parser[PodPage] | None = None,
        history: History | None = None,
    ) -> None:
        self._locate = locate
        self._scraper = scraper
        self._ways = ways or Ways()
        self._parser = parser or Parser()
        self._history = History() if history is None else history

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods, all of one namespace, now.

        Raises:
            NoSeriesMatchesError: all pods were read, and no row matches `rule.series`.
            AmbiguousSeriesError: two values on the pages have the form that it names.
        """
        causes = _Causes()
        targets = self._located(rule, pods, causes)
        access = {target: way.access for _, way, of_pod in targets for target in of_pod}
        scrapes = await self._scraper.scrape(access, access)
        pages = await self._parser.read(scrapes.outcomes, rule.readings)
        self._history.expire()
        samples: list[PodSample] = []
        matcher = SeriesMatcher(rule.series) if rule.series else None
        turns = Turns()
        for pod, _, of_pod in targets:
            of_this = {target: pages[target] for target in of_pod}
            sample = await self._sample(rule, pod, of_this, matcher, causes, turns)
            if sample is not None:
                samples.append(sample)
        gaps = causes.gaps()
        if causes.unmatched and not samples:
            unmatched = (page for of_one in causes.unmatched.values() for page in of_one)
            rows = (labels for page in unmatched for labels in labels_of(rule, page))
            is_all = len(causes.unmatched) == len(pods)
            gaps += (gap_of_series(rule.series, f"no row of {rule.name}", rows, is_all=is_all),)
        return Collection(
            selected=len(pods) - len(causes.excluded),
            samples=tuple(samples),
            gaps=gaps,
            fresh_until=scrapes.fresh_until,
            excluded=frozenset(causes.excluded),
        )

    async def prepare(self, rule: MetricRule, pods: Sequence[Pod], until: float) -> int:
        """Read the pages of these pods that are not fresh until then; return how many."""
        targets = self._located(rule, pods, _Causes())
        access = {target: way.access for _, way, of_pod in targets for target in of_pod}
        scrapes = await self._scraper.scrape_ahead(access, until, access)
        await self._parser.read(scrapes.outcomes, rule.readings)
        return scrapes.begun

    def _located(
        self, rule: MetricRule, pods: Sequence[Pod], causes: "_Causes"
    ) -> Sequence[tuple[Pod, Way, Sequence[str]]]:
        """Return each pod that has pages, how they are reached, and their URLs."""
        targets: list[tuple[Pod, Way, Sequence[str]]] = []
        for pod in pods:
            way = self._ways.of(pod.namespace, rule.name)
            try:
                of_pod = self._targets(pod, merged(rule.endpoint, way.endpoint), way.name)
            except NoTargetError as error:
                causes.no_page(pod, str(error))
                continue
            targets.append((pod, way, of_pod))
        return targets

    async def _sample(  # noqa: PLR0917 - what all pods of a question share
        self,
        rule: MetricRule,
        pod: Pod,
        pages: Mapping[str, PodPage | ScrapeError],
        matcher: SeriesMatcher | None,
        causes: "_Causes",
        turns: Turns,
    ) -> PodSample | None:
        """Return the sample of a pod, which needs all of its pages; None, and the cause, if not.

        With a matcher, pages whose rows are all excluded add nothing to it.
        """
        parts: list[Part] = []
        timestamps: list[float] = []
        unmatched: list[PodPage] = []
        is_missing = False
        for target, page in pages.items():
            await turns.end_if_over()
            if isinstance(page, ScrapeError):
                causes.failed(pod, target, page)
                is_missing = True
                continue
            # Even if another page is missing already: rates need every scrape.
            selected = SelectedPage(page, matcher) if matcher else None
            if selected:
                await turns.through(selected.searching(rule.readings))
            part = page.part(rule, pod.namespace, self._history, selected)
            if isinstance(part, Part):
                parts.append(part)
                timestamps.append(page.timestamp)
                continue
            if isinstance(part, Excluded | Unlabelled):
                unmatched.append(page)
            if isinstance(part, NoValue):
                causes.no_sample(pod, part.why, target if len(pages) > 1 else "")
                is_missing = True
        if len(unmatched) == len(pages):
            causes.no_match(pod, unmatched, is_excluded=not is_missing)
        if is_missing or not parts:
            return None
        value = value_of(rule, parts)
        if isinstance(value, NoValue):
            causes.no_sample(pod, value.why)
            return None
        return PodSample(pod.name, (value,), min(timestamps))

    def _targets(self, pod: Pod, endpoint: Endpoint, way: str) -> Sequence[str]:
        """Return the URL of each page, with a fragment, which is not sent.

        The fragment says whose page it is, as an address may soon be another pod's, and in which
        way it is reached.

        Raises:
            NoTargetError: the pod has no page that can be scraped.
        """
        of = f"{pod.namespace}/{pod.name}@{pod.created:.0f}" + (f",{way}" if way else "")
        return [f"{url}#{of}" for url in self._locate(pod.endpoint, endpoint)]


class _Causes:
    """Why pods have no sample, each cause with the pods that it applies to.

    Attributes:
        unmatched: the pages of each pod without a row that the series selector matches.
        excluded: those of these pods whose rows show that they are not selected.
    """

    def __init__(self) -> None:
        self.unmatched: dict[str, Sequence[PodPage]] = {}
        self.excluded: set[str] = set()
        self._no_page: dict[str, list[str]] = {}
        self._failed: dict[str, list[str]] = {}
        self._no_sample: dict[str, list[str]] = {}

    def no_page(self, pod: Pod, why: str) -> None:
        """Note why a pod has no page."""
        self._no_page.setdefault(why, []).append(pod.name)

    def failed(self, pod: Pod, target: str, error: ScrapeError) -> None:
        """Note why a page could not be scraped."""
        url = target.partition("#")[0]
        self._failed.setdefault(f"{url} {error}", []).append(pod.name)

    def no_sample(self, pod: Pod, why: str, target: str = "") -> None:
        """Note why a page has no value; and its target, if it is one of several."""
        if target:
            why = f"at port {urlsplit(target).port} {why}"
        self._no_sample.setdefault(why, []).append(pod.name)

    def no_match(self, pod: Pod, pages: Sequence[PodPage], *, is_excluded: bool) -> None:
        """Note that no row of a pod matches, and whether it is excluded for that."""
        self.unmatched[pod.name] = pages
        if is_excluded:
            self.excluded.add(pod.name)

    def gaps(self) -> tuple[Gap, ...]:
        """Return all of them."""
        return (
            *(
                Gap("no-page", f"{each_of('pod', pods)} {why}")
                for why, pods in self._no_page.items()
            ),
            *(
                Gap("pages-failed", f"{named('pod', pods)}: {why}")
                for why, pods in self._failed.items()
            ),
            *(
                Gap("no-sample", f"the page of {each_of('pod', pods)} {why}")
                for why, pods in self._no_sample.items()
            ),
        )
