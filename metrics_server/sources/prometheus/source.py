"""Measures pods by what Prometheus last scraped of exporters and of the pods' own pages."""

import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from cachetools import TTLCache

from metrics_server.common.lookups import SharedLookups
from metrics_server.common.outages import Outage, Outages
from metrics_server.common.weight import weight
from metrics_server.errors import QueryError, QueryReason, ScrapeError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection
from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.rules.presets import DIALECTS
from metrics_server.sources.exporters.dialects import PodName
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.parsing import Parser
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.rows import NoValue
from metrics_server.sources.prometheus.client import PrometheusClient
from metrics_server.sources.prometheus.gpus import ScrapedPage, pages_of
from metrics_server.sources.prometheus.moment import Moment
from metrics_server.sources.prometheus.pages import PagesOfPod, pages_of_pods
from metrics_server.sources.prometheus.queries import result_of
from metrics_server.sources.prometheus.samples import Found, collection_of
from metrics_server.sources.prometheus.sizes import size_of_exporter, size_of_pods
from metrics_server.sources.turns import Turns
from metrics_server.telemetry.metrics import Monitor

# For the results of all rules and namespaces in demand. A single one may take all of it: that of
# 5,000 nodes with 8 GPUs each takes most, and querying it for each HPA would be worse than dropping
# others.
_MAX_BYTES = 128 * 1024 * 1024
# Of a pod among the results: its entry, and the list of its pages.
_BYTES_PER_POD = 512
# Beyond this, a question's own pods are queried, and not those of its whole namespace.
_MAX_SHARED_PODS = 2000
# The exporters of the pods of a namespace are looked up again after a while.
_TARGETS_KNOWN_SECONDS = 60
_MAX_TARGETS_KNOWN = 1000
# Failures of a rule's queries, whatever the state of Prometheus for other rules.
_OF_THE_RULE: frozenset[QueryReason] = frozenset(
    {"bad-query", "not-a-vector", "partial", "timeout", "too-large"}
)

log = structlog.stdlib.get_logger(__name__)


class PrometheusSource:
    """A MetricSource that queries Prometheus.

    What it returns is the same as that of the other sources, because the rows are read by the same
    code; but as of when Prometheus scraped them.

    Args:
        client: sends the queries.
        pods: the pods of a namespace: all that a rule could measure are queried at once.
        max_age: how old a sample may be, in seconds.
        reuse: for how many seconds the answers are used for further questions.
        required: labels that every series must have, to select one of several clusters.
        dialects: how exporters label their rows.
        monitor: counts the queries.
        clock: seconds, on a monotonic clock.
    """

    def __init__(
        self,
        client: PrometheusClient,
        pods: Callable[[str], Sequence[Pod]],
        *,
        max_age: float,
        reuse: float,
        monitor: Monitor,
        required: Mapping[str, str] | None = None,
        dialects: tuple[Dialect, ...] = DIALECTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._pods = pods
        self._max_age = max_age
        self._reuse = reuse
        self._required = required or {}
        self._dialects = dialects
        self._monitor = monitor
        self._clock = clock
        self._parser = Parser[Page]()
        self._parser_of_pods = Parser[PodPage]()
        self._found: SharedLookups[tuple[object, ...], Found] = SharedLookups(
            ttl=reuse,
            max_bytes=_MAX_BYTES,
            least_entries=1,
            size=lambda found: found.size,
            clock=clock,
        )
        self._targets: TTLCache[tuple[tuple[Reading, ...], str], frozenset[tuple[str, str]]] = (
            TTLCache(_MAX_TARGETS_KNOWN, _TARGETS_KNOWN_SECONDS, clock)
        )
        self._outage = Outage(log, "prometheus failed", "prometheus recovered")
        self._of_rules = Outages(log, "query failed", "query recovered", key="metric")
        self._warned = Outages(log, "prometheus warns", "prometheus no longer warns", key="metric")

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods, all of one namespace, now."""
        every, scope = self._together(rule, pods)
        # All of a rule that its look-up depends on, except its name, which is in the log.
        read = (rule.readings, rule.query, rule.measures)
        key = (*read, rule.maximum, rule.window, rule.endpoint, _labels(rule), *scope)
        found = await self._found.get(key, lambda: self._look_up(rule, every))
        return await collection_of(rule, found, pods, self._max_age)

    def _together(
        self, rule: MetricRule, pods: Sequence[Pod]
    ) -> tuple[Sequence[Pod], tuple[object, ...]]:
        """Return the pods to query together, and what identifies them.

        All that the rule could measure in the namespace, so that the questions of all HPAs share
        the queries; unless these are too many, or one value is asked for of just these pods. A
        query whose values depend on which pods are queried together has them all, however many.
        """
        namespace, query = pods[0].namespace, rule.query
        if query is None or query.pod_label is not None:
            every = {pod.name: pod for pod in self._pods(namespace) if _can_be_measured(rule, pod)}
            every |= {pod.name: pod for pod in pods}
            if len(every) <= _MAX_SHARED_PODS or not (query is None or query.can_be_split):
                return tuple(every.values()), (namespace,)
        return pods, (namespace, frozenset(pod.name for pod in pods))

    async def _look_up(self, rule: MetricRule, pods: Sequence[Pod]) -> Found:
        moment = Moment(self._client, self._monitor, self._clock, of=pods[0].namespace)
        fresh_until = moment.began + self._reuse
        try:
            found = await self._queried(moment, rule, pods, fresh_until)
        except QueryError as error:
            if error.reason in _OF_THE_RULE:
                self._of_rules.failed(rule.name, error, reason=error.reason)
            else:
                self._outage.failed(error, reason=error.reason)
            # Kept as well, so that a Prometheus in trouble is not asked by each question.
            return Found(fresh_until, error=error)
        self._outage.recovered()
        self._of_rules.recovered(rule.name)
        if moment.warnings:
            self._warned.failed(rule.name, next(iter(moment.warnings)))
        else:
            self._warned.recovered(rule.name)
        return found

    async def _queried(
        self, moment: Moment, rule: MetricRule, pods: Sequence[Pod], fresh_until: float
    ) -> Found:
        if rule.query is not None:
            result = await result_of(moment, rule, rule.query, pods, self._max_age)
            _refuse_parts(moment)
            size = weight(result)
            return Found(fresh_until, result=result, warnings=tuple(moment.warnings), size=size)
        if rule.measures == "pods":
            own = await pages_of_pods(
                moment,
                rule.readings,
                pods,
                window=rule.window,
                endpoint=rule.endpoint,
                required=self._required,
                max_age=self._max_age,
            )
            _refuse_parts(moment)
            own = await self._parsed(own, rule.readings)
            size = size_of_pods(own.values())
            return Found(fresh_until, pages=own, warnings=tuple(moment.warnings), size=size)
        return await self._of_gpus(moment, rule, pods, fresh_until)

    async def _of_gpus(
        self,
        moment: Moment,
        rule: MetricRule,
        pods: Sequence[Pod],
        fresh_until: float,
    ) -> Found:
        """Return the pages of exporters, which are looked up unless they name all pods still."""
        names = {(pod.namespace, pod.name) for pod in pods}
        key = (rule.readings, pods[0].namespace)
        known = self._targets.get(key)
        if known and not any(pod.terminating for pod in pods):
            found = await self._pages(moment, rule, pods, fresh_until, known)
            # Otherwise there are new pods, or an exporter has another address now.
            if names <= found.by_pod.keys():
                return found
        found = await self._pages(moment, rule, pods, fresh_until)
        if names <= found.by_pod.keys():
            self._targets[key] = frozenset(page.target for page in found.gpus)
        return found

    async def _pages(
        self,
        moment: Moment,
        rule: MetricRule,
        pods: Sequence[Pod],
        fresh_until: float,
        targets: frozenset[tuple[str, str]] = frozenset(),
    ) -> Found:
        readings = rule.readings
        pages = await pages_of(
            moment,
            readings,
            pods,
            dialects=self._dialects,
            required=self._required,
            max_age=self._max_age,
            targets=targets,
            labels=_labels(rule),
        )
        # Those that take too long to read are left out, so that no other caller waits for them.
        read = await self._parser.read(
            {str(number): one.page for number, one in enumerate(pages)}, readings
        )
        late = tuple(
            f"exporter {one.page.target} has a page of {one.page.lines} lines in Prometheus, which "
            f"was not parsed within {self._parser.patience:g} s"
            for one, page in zip(pages, read.values(), strict=True)
            if isinstance(page, ScrapeError)
        )
        pages = tuple(
            [one for one, page in zip(pages, read.values(), strict=True) if one.page is page]
        )
        by_pod, size = await self._by_pod(pages, readings)
        return Found(
            fresh_until,
            gpus=pages,
            by_pod=by_pod,
            late=late,
            warnings=tuple(moment.warnings),
            size=size,
        )

    async def _parsed(
        self, pages: Mapping[str, PagesOfPod], readings: tuple[Reading, ...]
    ) -> Mapping[str, PagesOfPod]:
        """Return the pods' own pages, parsed, without those that take too long."""
        every = {
            f"{name} {number}": page
            for name, one in pages.items()
            if not isinstance(one.pages, NoValue)
            for number, page in enumerate(one.pages)
        }
        read = await self._parser_of_pods.read(every, readings)
        late = {
            url.partition(" ")[0]: NoValue(
                f"has {every[url].lines} lines in Prometheus, which were not parsed within "
                f"{self._parser_of_pods.patience:g} s"
            )
            for url, page in read.items()
            if isinstance(page, ScrapeError)
        }
        return {**pages, **{name: PagesOfPod(why) for name, why in late.items()}}

    async def _by_pod(
        self, pages: Sequence[ScrapedPage], readings: tuple[Reading, ...]
    ) -> tuple[Mapping[PodName, Sequence[ScrapedPage]], int]:
        """Return the pages that name each pod, and how many bytes all of that takes."""
        turns = Turns()
        size = 0
        found: dict[PodName, list[ScrapedPage]] = {}
        for one in pages:
            lines = one.page.lines
            await turns.next(lines)
            attribution = one.page.attribution(readings)
            named = attribution.by_pod.keys() | attribution.incomplete.keys()
            for name in named | one.page.inventory().by_pod.keys():
                found.setdefault(name, []).append(one)
            size += size_of_exporter(one.page, lines)
        return found, size + _BYTES_PER_POD * len(found)


def _labels(rule: MetricRule) -> tuple[str, ...]:
    """Return the labels that the question's series selector is about, if it is about GPUs."""
    if rule.measures != "gpus":
        return ()
    return tuple(sorted({one.label for one in rule.series.requirements}))


def _can_be_measured(rule: MetricRule, pod: Pod) -> bool:
    return pod.phase == "Running" and (rule.measures == "pods" or pod.gpus > 0)


def _refuse_parts(moment: Moment) -> None:
    """Reject an answer that may be partial, where missing parts would change the number.

        For GPUs they would not, because each pod says how many it has.

    Raises:
        QueryError: it may be partial.
    """
    if moment.is_partial:
        words = next(iter(moment.warnings))
        raise QueryError(f"Prometheus's answer may be partial, and is not used: {words}", "partial")
