"""The server's own metrics, on a given registry."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from metrics_server import __version__
from metrics_server.telemetry.collectors import (
    PREFIX,
    AheadCollector,
    FindingCollector,
    LogCollector,
    Settling,
    WatchCollector,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_MAX_PENDING = 100
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_AGES = (0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60)

Decided = Literal["allowed", "denied", "error"]
Dropped = Literal[
    "head-too-slow",
    "head-too-long",
    "body-too-long",
    "answer-not-taken",
    "too-much-held",
    "idle-longest",
]
"""Why a client's connection was dropped."""


class Monitor:
    """The server's own metrics, under the prefix gpu_metrics_server_.

    Args:
        registry: where to register them; one for each server in a process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        # Updates that requests have made and the metrics do not have yet: sums, and observations.
        # Within a request, each update would cost several times as much as in a row, because
        # nothing of the metrics is in the processor's caches.
        self._sums: defaultdict[Callable[[float], None], float] = defaultdict(float)
        self._pending: list[tuple[Callable[[float], None], float]] = []
        # Registered first, so that every metric is complete when it is collected.
        registry.register(Settling(self._settle))
        self._requests = Histogram(
            f"{PREFIX}_request_duration_seconds",
            "Time to answer a request for a metric, by API, metric and HTTP status.",
            ("api", "metric", "code"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._scrapes = Histogram(
            f"{PREFIX}_scrape_duration_seconds",
            "Time to scrape an exporter, by outcome.",
            ("outcome",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._queries = Histogram(
            f"{PREFIX}_prometheus_query_duration_seconds",
            "Time to query Prometheus, by outcome.",
            ("outcome",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._age = Histogram(
            f"{PREFIX}_sample_age_seconds",
            "Age of the oldest sample in a measured answer when it was sent.",
            buckets=_AGES,
            registry=registry,
        )
        pods = Counter(
            f"{PREFIX}_question_pods",
            "Pods in measured questions: selected, and covered by a sample.",
            ("state",),
            registry=registry,
        )
        self._selected, self._covered = pods.labels("selected").inc, pods.labels("covered").inc
        self._errors = Counter(
            f"{PREFIX}_errors",
            "Questions answered with an error, by reason.",
            ("reason",),
            registry=registry,
        )
        self._missing = Counter(
            f"{PREFIX}_measurements_missing",
            "Questions without a measurement, by reason, with or without a fallback.",
            ("reason",),
            registry=registry,
        )
        self._fallbacks = Counter(
            f"{PREFIX}_fallback_answers",
            "Questions answered by a fallback, by kind.",
            ("kind",),
            registry=registry,
        )
        self._authentications = Counter(
            f"{PREFIX}_authentications",
            "Requests by how the caller was authenticated, or why not.",
            ("outcome",),
            registry=registry,
        )
        authorizations = Counter(
            f"{PREFIX}_authorizations",
            "Requests by authorization decision.",
            ("decision",),
            registry=registry,
        )
        self._authorizations = {one: authorizations.labels(one).inc for one in get_args(Decided)}
        self._allowed = self._authorizations["allowed"]
        dropped = Counter(
            f"{PREFIX}_connections_dropped",
            "Client connections dropped, by reason.",
            ("reason",),
            registry=registry,
        )
        self._dropped = {one: dropped.labels(one) for one in get_args(Dropped)}
        # With a label, because a gauge without one is 0 before it is set.
        self._certificate_expiry = Gauge(
            f"{PREFIX}_certificate_expiration_timestamp_seconds",
            "When the serving certificate expires, in seconds since 1970.",
            ("certificate",),
            registry=registry,
        )
        self._certificate_failures = Counter(
            f"{PREFIX}_certificate_reload_failures",
            "Serving pairs that were rejected; the previous one stays in use.",
            registry=registry,
        )
        # Looked up once: the lookup costs as much as the update.
        self._request = cache(
            lambda api, metric, code: self._requests.labels(api, metric, str(code)).observe
        )
        self._authentication = cache(lambda outcome: self._authentications.labels(outcome).inc)
        Gauge(
            f"{PREFIX}_build_info",
            "Always 1; the label has the version.",
            ("version",),
            registry=registry,
        ).labels(__version__).set(1)

    def answered(self, api: str, metric: str, code: int, seconds: float) -> None:
        """A request for a metric was answered. `metric` is a known name, or "" for any other."""
        self._observe(self._request(api, metric, code), seconds)

    def measured(self, *, age: float, covered: int, selected: int) -> None:
        """A question was answered by a measurement whose oldest sample is `age` seconds old."""
        self._observe(self._age.observe, age)
        self._sums[self._selected] += selected
        self._sums[self._covered] += covered

    def failed(self, reason: str) -> None:
        """A question was answered by an error."""
        self._errors.labels(reason).inc()

    def missing(self, reason: str) -> None:
        """A question had no measurement."""
        self._missing.labels(reason).inc()

    def fell_back(self, kind: str) -> None:
        """A question was answered by a fallback."""
        self._fallbacks.labels(kind).inc()

    def scraped(self, outcome: str, seconds: float) -> None:
        """An exporter was scraped. `outcome` is "ok" or the reason of the failure."""
        self._scrapes.labels(outcome).observe(seconds)

    def queried(self, outcome: str, seconds: float) -> None:
        """Prometheus was queried. `outcome` is "ok" or the reason of the failure."""
        self._queries.labels(outcome).observe(seconds)

    def authenticated(self, outcome: str) -> None:
        """The caller of a request was authenticated in some way, or was not for some reason."""
        self._sums[self._authentication(outcome)] += 1

    def authorized(self, decision: Decided) -> None:
        """A request was authorized or denied; "error" means that there was no decision."""
        self._sums[self._authorizations[decision]] += 1

    def admitted(self) -> None:
        """A front proxy repeated a request that is known to be allowed."""
        self._sums[self._authentication("request-header")] += 1
        self._sums[self._allowed] += 1

    def dropped(self, reason: Dropped) -> None:
        """A client's connection was dropped."""
        self._dropped[reason].inc()

    def certificate_used(self, expires: float) -> None:
        """A serving certificate is in use; `expires` is in seconds since 1970."""
        self._certificate_expiry.labels("serving").set(expires)

    def certificate_refused(self) -> None:
        """A serving pair was rejected; the previous one stays in use."""
        self._certificate_failures.inc()

    def follow_watches(self, restarts: Mapping[str, Callable[[], int]]) -> None:
        """Report how many times the watch of each resource restarted."""
        self._registry.register(WatchCollector(restarts))

    def follow_sizes(self, sizes: Mapping[str, Callable[[], int]]) -> None:
        """Report how many objects of each kind are held in memory."""
        objects = Gauge(
            f"{PREFIX}_cached_objects",
            "Objects kept in memory, by kind.",
            ("kind",),
            registry=self._registry,
        )
        for kind, size in sizes.items():
            objects.labels(kind).set_function(size)

    def follow_hpa_findings(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Report how many findings about HPAs there are, by reason."""
        self._registry.register(FindingCollector(counts))

    def follow_ahead(
        self, pages: Callable[[], int], questions: Mapping[str, Callable[[], int]]
    ) -> None:
        """Report how many pages were read ahead, and for how many questions, by outcome."""
        self._registry.register(AheadCollector(pages, questions))

    def follow_log(self, dropped: Callable[[], int]) -> None:
        """Report how many log lines were dropped."""
        self._registry.register(LogCollector(dropped))

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def _observe(self, update: Callable[[float], None], amount: float) -> None:
        self._pending.append((update, amount))
        if len(self._pending) >= _MAX_PENDING:
            self._settle()

    def _settle(self) -> None:
        """Apply the pending updates to the metrics."""
        for update, amount in self._pending:
            update(amount)
        self._pending.clear()
        for update, amount in self._sums.items():
            update(amount)
        self._sums.clear()
