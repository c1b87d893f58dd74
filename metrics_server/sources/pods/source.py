"""Measures pods by their own metrics pages."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from metrics_server.common.text import listed
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
from metrics_server.sources.pods.series import Excluded, Unlabelled, labels_of
from metrics_server.sources.pods.targets import NoTargetError
from metrics_server.sources.unmatched import gap_of_series

# How long values are computed at once before other tasks get their turn.
_TURN_SECONDS = 0.005

Locate = Callable[[PodEndpoint | None, Endpoint], str]
"""Returns the URL of a pod's page, or raises a NoTargetError."""


class PodSource:
    """A MetricSource that scrapes the pods in question themselves.

    Args:
        locate: where a pod's page is.
        scraper: reads the pages.
        parser: parses them; by default with the default patience.
        history: what rates and quantiles look back to; by default with the default limit.
    """

    def __init__(
        self,
        locate: Locate,
        scraper: Scraper[PodPage],
        parser: Parser[PodPage] | None = None,
        history: History | None = None,
    ) -> None:
        self._locate = locate
        self._scraper = scraper
        self._parser = parser or Parser()
        self._history = History() if history is None else history

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods, all of one namespace, now.

        Raises:
            NoSeriesMatchesError: all pods were read, and no row matches `rule.series`.
            AmbiguousSeriesError: two values on the pages have the form that it names.
        """
        targets: dict[str, Pod] = {}
        lost: dict[str, list[str]] = {}
        for pod in pods:
            try:
                targets[self._target(pod, rule.endpoint)] = pod
            except NoTargetError as error:
                lost.setdefault(str(error), []).append(pod.name)
        scrapes = await self._scraper.scrape(targets)
        pages = await self._parser.read(scrapes.outcomes, rule.readings)
        self._history.expire()
        samples: list[PodSample] = []
        failed: dict[str, list[str]] = {}
        without: dict[str, list[str]] = {}
        excluded: set[str] = set()
        unmatched: list[PodPage] = []
        matcher = SeriesMatcher(rule.series) if rule.series else None
        began = time.perf_counter()
        for target, pod in targets.items():
            if time.perf_counter() - began > _TURN_SECONDS:
                await asyncio.sleep(0)
                began = time.perf_counter()
            page = pages[target]
            if isinstance(page, ScrapeError):
                url = target.partition("#")[0]
                failed.setdefault(f"{url} {page}", []).append(pod.name)
                continue
            value = page.value(rule, self._history, matcher)
            if isinstance(value, float):
                samples.append(PodSample(pod.name, (value,), page.timestamp))
                continue
            if isinstance(value, Excluded | Unlabelled):
                unmatched.append(page)
            if isinstance(value, Excluded):
                excluded.add(pod.name)
            else:
                without.setdefault(value.why, []).append(pod.name)
        gaps = _gaps(lost, failed, without)
        if unmatched and not samples:
            rows = (labels for page in unmatched for labels in labels_of(rule, page))
            what = f"no row of {rule.name}"
            gaps += (gap_of_series(rule.series, what, rows, is_all=len(unmatched) == len(pods)),)
        return Collection(
            selected=len(pods) - len(excluded),
            samples=tuple(samples),
            gaps=gaps,
            fresh_until=scrapes.fresh_until,
            excluded=frozenset(excluded),
        )

    def _target(self, pod: Pod, endpoint: Endpoint) -> str:
        """Return the URL with a fragment, which is not sent: an address may soon be another pod's.

        Raises:
            NoTargetError: the pod has no page that can be scraped.
        """
        return (
            f"{self._locate(pod.endpoint, endpoint)}#{pod.namespace}/{pod.name}@{pod.created:.0f}"
        )


def _gaps(
    lost: Mapping[str, Sequence[str]],
    failed: Mapping[str, Sequence[str]],
    without: Mapping[str, Sequence[str]],
) -> tuple[Gap, ...]:
    """Return why pods have no sample, each cause with the pods that it applies to."""
    return (
        *(Gap("no-page", f"pod {listed(pods)} {why}") for why, pods in lost.items()),
        *(Gap("pages-failed", f"pod {listed(pods)}: {why}") for why, pods in failed.items()),
        *(
            Gap("no-sample", f"the page of pod {listed(pods)} {why}")
            for why, pods in without.items()
        ),
    )
