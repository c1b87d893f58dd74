"""The golden table through a real Prometheus: the same values as from the pages themselves."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from msgspec import Struct
from prometheus_client import CollectorRegistry

from metrics_server.config.rule_sources import used_with
from metrics_server.errors import RequestError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.series_selectors import split
from metrics_server.measuring.fallback import FallbackChain, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.samples import Answer, Form, Question
from metrics_server.measuring.windows import Windows
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.sources.prometheus.client import PrometheusClient, PrometheusSettings
from metrics_server.sources.prometheus.source import PrometheusSource
from metrics_server.sources.routing import SourcesOfEachRule
from metrics_server.telemetry.metrics import Monitor
from tests.measuring.test_golden import PAGES, SCENARIOS, Cluster, GoldenRow, Scenario
from tests.support.prometheus import Prometheus, running
from tests.support.scraped import Target, serving

pytestmark = pytest.mark.slow

RULES = Rules([used_with(rule, "only") for rule in CATALOGUE])


class Way(Struct, frozen=True):
    """How the exporters are scraped."""

    name: str
    honor_labels: bool
    labels: dict[str, str] = {}
    by_node: bool = False


# Pages that Prometheus rejects completely: duplicate labels in a row, or text for a value. They are
# asked about in the first way only.
REJECTED = {
    "dcgm-4.x-duplicate-labels",
    "dcgm-odd-values",
    "dcgm-malformed-lines",
    "dcgm-malformed-lines-ended",
}
# Prometheus has no trace of an exporter that could not be scraped.
REASONS = {"exporters-failed": "no-sample", "no-exporter": "no-sample"}
# The node on which such an exporter was found is known only from its target's labels.
MISTAKEN = "an exporter that is asked for one node and says that it is of another"
BELIEVED = {False: {"shop web": 89.5, "shop web1": 50.0}, True: {"shop web1": 50.0}}

WAYS = [
    Way("honor-labels", honor_labels=True),
    Way(
        "renamed",
        honor_labels=False,
        labels={"namespace": "gpu-monitoring", "pod": "exporter-x7k2p", "container": "exporter"},
    ),
    Way("namespace-renamed", honor_labels=False, labels={"namespace": "gpu-monitoring"}),
    Way(
        "relabelled",
        honor_labels=True,
        labels={"prometheus": "monitoring/k8s", "service": "exporters"},
        by_node=True,
    ),
]


def targets(way: Way) -> list[Target]:
    """Return the exporters of all scenarios, each with its way and its scenario in labels."""
    found = []
    for number, scenario in enumerate(SCENARIOS):
        for node, names in scenario.nodes.items():
            for place, name in enumerate(names):
                if name != "refused":
                    own = {"instance": node, "node": node} if way.by_node else {}
                    labels = {**required(way, scenario=number), **way.labels, **own}
                    if not way.by_node:
                        labels["instance"] = f"{node}-{place}:9400"
                    job = f"{way.name}-exporter-{place}"
                    found.append(Target(f"{way.name}/{name}", job, labels))
    return found


def required(way: Way, scenario: int) -> dict[str, str]:
    """Return the labels that select a scenario's series."""
    return {"way": way.name, "scenario": str(scenario)}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus that has scraped a real exporter of every page, in every way."""
    with ExitStack() as stack:
        bodies = {f"{way.name}/{name}": body for way in WAYS for name, body in PAGES.items()}
        pages = stack.enter_context(serving(bodies))
        jobs = [
            job
            for way in WAYS
            for job in pages.jobs(targets(way), honor_labels=way.honor_labels, interval="6s")
        ]
        one = Prometheus(tmp_path_factory.mktemp("prometheus"), scrape=jobs)
        stack.enter_context(running(one))
        one.wait_for_scrapes(sum(len(targets(way)) for way in WAYS))
        yield one


@pytest.fixture
async def client(prometheus: Prometheus) -> AsyncIterator[PrometheusClient]:
    """A client of the Prometheus."""
    client = PrometheusClient(PrometheusSettings(url=prometheus.url, timeout=30))
    yield client
    await client.close()


class Asked:
    """A scenario whose questions share the look-ups of one source.

    Args:
        client: a client of the Prometheus.
        way: how its exporters were scraped.
        scenario: the scenario.
    """

    def __init__(self, client: PrometheusClient, way: Way, scenario: Scenario) -> None:
        self._cluster = Cluster(scenario, str)
        self._monitor = Monitor(CollectorRegistry())
        self._source = PrometheusSource(
            client,
            self._cluster.in_namespace,
            max_age=60,
            reuse=2,
            required=required(way, SCENARIOS.index(scenario)),
            monitor=self._monitor,
        )

    async def ask(self, row: GoldenRow, form: Form = "labelled") -> Answer:
        """The answer of the whole path from question to value, without a fallback."""
        namespace, _, app = row.ask.partition(" ")
        provider = MetricsProvider(
            rules=RULES,
            pods=self._cluster,
            measure="ready",
            source=SourcesOfEachRule({"prometheus": self._source}),
            min_coverage=0.5,
            windows=Windows(period=1),
            fallback=FallbackChain(("error",), last_known_max_age=60, simulated=Simulated()),
            incidents=Incidents(),
            monitor=self._monitor,
        )
        chosen = ",".join(filter(None, (f"app={app}" if app else "", row.series)))
        selected, series = split(parse_selector(chosen))
        question = Question(namespace, row.metric, selected, form, series=series)
        return await provider.answer(question)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
async def test_golden(client: PrometheusClient, way: Way) -> None:
    """Each answer is that of the table, for each pod too, or is missing for the same reason."""
    for scenario in SCENARIOS:
        asked = Asked(client, way, scenario)
        pages = {page for names in scenario.nodes.values() for page in names}
        if pages & REJECTED and way is not WAYS[0]:
            continue
        for row in scenario.rows:
            expected = row.answer
            if scenario.scenario == MISTAKEN:
                expected = BELIEVED[way.by_node].get(row.ask)
            if expected is None or pages & REJECTED:
                with pytest.raises(RequestError) as raised:
                    await asked.ask(row)
                reasons = {REASONS.get(row.error, row.error) or "no-sample"}
                assert raised.value.reason in reasons, (scenario.scenario, row)
            else:
                answer = await asked.ask(row)
                assert answer.value == pytest.approx(expected, rel=1e-12), (scenario.scenario, row)
                assert (answer.shared, answer.source) == (row.shared, "prometheus")
            if row.each and not pages & REJECTED:
                answer = await asked.ask(row, "pods")
                found = {one.pod: one.value for one in answer.pods}
                assert found == pytest.approx(row.each, rel=1e-12), (scenario.scenario, row)
