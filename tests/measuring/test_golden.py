"""The golden table: each page's answers to questions, worked out by hand.

`data/golden.yaml` is the table, and explains its format.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from random import Random

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, convert
from prometheus_client import CollectorRegistry
from pytest_aiohttp import AiohttpRawServer

from metrics_server.errors import RequestError, ScrapeError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.kube.series_selectors import split
from metrics_server.measuring.fallback import FallbackChain, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.samples import Answer, Form, Question
from metrics_server.measuring.windows import Windows
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.pages.scraper import Scraper, Scrapes
from metrics_server.telemetry.metrics import Monitor
from tests.support.data import DATA, EXPORTERS
from tests.support.documents import load

RULES = Rules(CATALOGUE)
PAGES = {path.stem: path.read_bytes() for path in (EXPORTERS).glob("*.prom")}
# Without this, the scraper takes it for a page that was cut short.
PAGES["dcgm-malformed-lines-ended"] = PAGES["dcgm-malformed-lines"] + b"\n"


class GoldenPod(Struct, frozen=True, forbid_unknown_fields=True):
    """A pod in a scenario."""

    pod: str
    app: str
    node: str = "n1"
    gpus: int = 1


class GoldenRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A question, and its answer or its error."""

    ask: str
    metric: str
    why: str
    answer: float | None = None
    shared: bool = False
    error: str = ""
    says: str = ""
    series: str = ""
    each: dict[str, float] = {}


class Scenario(Struct, frozen=True, forbid_unknown_fields=True):
    """Pages, pods, and questions."""

    scenario: str
    nodes: dict[str, list[str]]
    pods: list[GoldenPod]
    rows: list[GoldenRow]

    def cluster(self) -> tuple[Pod, ...]:
        """The pods, all Running and Ready."""
        return tuple(
            Pod(
                namespace=one.pod.partition("/")[0],
                name=one.pod.partition("/")[2],
                labels={"app": one.app},
                node=one.node,
                phase="Running",
                ready=True,
                terminating=False,
                gpus=one.gpus,
            )
            for one in self.pods
        )

    def pages(self) -> dict[str, bytes]:
        """The pages of its exporters, by name."""
        used = {page for pages in self.nodes.values() for page in pages}
        return {name: PAGES[name] for name in sorted(used & PAGES.keys())}


SCENARIOS = convert(load((DATA / "golden.yaml").read_text("utf-8")), list[Scenario])


class Cluster:
    """The pods in a scenario, and its exporters."""

    def __init__(self, scenario: Scenario, url: Callable[[str], str]) -> None:
        self._pods = scenario.cluster()
        self._urls = {
            node: tuple(url(page) for page in pages) for node, pages in scenario.nodes.items()
        }

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """The pods in a namespace."""
        return tuple(pod for pod in self._pods if pod.namespace == namespace)

    def on_nodes(self, nodes: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """The URLs of these nodes' exporters."""
        return {node: self._urls[node] for node in nodes}


async def ask(
    cluster: Cluster, scraper: Scraper[Page], row: GoldenRow, form: Form = "labelled"
) -> Answer:
    """The answer of the whole path from question to value, without a fallback."""
    namespace, _, app = row.ask.partition(" ")
    provider = MetricsProvider(
        rules=RULES,
        pods=cluster,
        measure="ready",
        source=ExporterSource(cluster, scraper),
        min_coverage=0.5,
        windows=Windows(period=1),
        incidents=Incidents(),
        fallback=FallbackChain(("error",), last_known_max_age=60, simulated=Simulated()),
        monitor=Monitor(CollectorRegistry()),
    )
    selector = parse_selector(",".join(filter(None, (f"app={app}" if app else "", row.series))))
    pods, series = split(selector)
    return await provider.answer(Question(namespace, row.metric, pods, form, series=series))


async def check(cluster: Cluster, scraper: Scraper[Page], row: GoldenRow) -> None:
    """Check a row of the table."""
    if row.answer is None:
        with pytest.raises(RequestError, match=re.escape(row.says)) as raised:
            await ask(cluster, scraper, row)
        assert raised.value.reason == row.error
    else:
        answer = await ask(cluster, scraper, row)
        assert answer.value == pytest.approx(row.answer, rel=1e-12)
        assert answer.shared == row.shared


def test_the_table_has_every_page() -> None:
    """Every page has a row, and each row is an answer, or an error with its reason."""
    used = {page for scenario in SCENARIOS for pages in scenario.nodes.values() for page in pages}
    assert PAGES.keys() == used - {"refused"}
    for row in (row for scenario in SCENARIOS for row in scenario.rows):
        assert (row.answer is None) == bool(row.error and row.says)
        assert row.why


@pytest.fixture
async def exporters(aiohttp_raw_server: AiohttpRawServer) -> Callable[[str], str]:
    """A real exporter of every page: returns a page's URL."""

    async def answer(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0)
        return web.Response(body=PAGES[request.path.strip("/")], content_type="text/plain")

    server = await aiohttp_raw_server(answer)
    # Port 1 is reserved for the system, and nothing listens there.
    return lambda page: (
        "http://127.0.0.1:1/metrics" if page == "refused" else str(server.make_url(f"/{page}"))
    )


@pytest.fixture
async def scraper(monitor: Monitor) -> AsyncIterator[Scraper[Page]]:
    """A scraper like the server's."""
    async with Scraper(Page, timeout=5, max_age=60, max_concurrency=8, monitor=monitor) as one:
        yield one


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.scenario)
async def test_golden(
    exporters: Callable[[str], str], scraper: Scraper[Page], scenario: Scenario
) -> None:
    """Each answer or error, and each pod's, scraped from real exporters, is that of the table."""
    cluster = Cluster(scenario, exporters)
    for row in scenario.rows:
        await check(cluster, scraper, row)
        await check_pods(cluster, scraper, row)


async def check_pods(cluster: Cluster, scraper: Scraper[Page], row: GoldenRow) -> None:
    """Each pod has its own value, as in the table; a single pod has the row's value."""
    expected = dict(row.each)
    if not expected and row.answer is not None:
        namespace, _, app = row.ask.partition(" ")
        (only,) = (
            pod for pod in cluster.in_namespace(namespace) if pod.labels["app"] == app and pod.gpus
        )
        expected = {only.name: row.answer}
    if not expected:
        with pytest.raises(RequestError) as raised:
            await ask(cluster, scraper, row, "pods")
        assert raised.value.reason == row.error
    else:
        answer = await ask(cluster, scraper, row, "pods")
        assert {one.pod: one.value for one in answer.pods} == pytest.approx(expected, rel=1e-12)


class Shelf(Scraper[Page]):
    """Pages without scraping: each URL is the name of one."""

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self._pages = pages

    async def scrape(self, targets: Iterable[str], *_: object) -> Scrapes[Page]:
        """The pages by name."""
        outcomes: dict[str, Page | ScrapeError] = {}
        for target in targets:
            page = self._pages.get(target)
            if page is None:
                outcomes[target] = ScrapeError("could not be reached", "unreachable")
            elif page and not page.endswith(b"\n"):
                outcomes[target] = ScrapeError("cut its page short", "cut-short")
            else:
                outcomes[target] = Page(target, page, 0)
        return Scrapes(outcomes, fresh_until=0)


def run(scenario: Scenario, pages: Mapping[str, bytes], rows: Iterable[GoldenRow]) -> None:
    """Check rows of a scenario with these pages."""

    async def check_all() -> None:
        for row in rows:
            await check(Cluster(scenario, str), Shelf(pages), row)

    asyncio.run(check_all())


def shuffle_labels(line: bytes, random: Random) -> bytes:
    """A row with its labels in another order; other lines are unchanged."""
    row = re.fullmatch(rb'(\w+)\{((?:\w+="[^"]*",?)+)\} (\S+)', line)
    if row is None:
        return line
    labels = re.findall(rb'\w+="[^"]*"', row[2])
    random.shuffle(labels)
    return b"%s{%s} %s" % (row[1], b",".join(labels), row[3])


def shuffled(page: bytes, random: Random) -> bytes:
    """A page with its lines, and so its families, and each row's labels in another order."""
    lines = [shuffle_labels(line, random) for line in page.splitlines()]
    random.shuffle(lines)
    # A page without an end of its last line was cut short, whatever the order of its lines.
    return b"\n".join(lines) + b"\n" * page.endswith(b"\n")


# A page has more lines than hypothesis would choose an order for.
@pytest.mark.slow
@given(st.sampled_from(SCENARIOS), st.integers(0, 2**32).map(Random))
def test_the_order_of_a_page_does_not_matter(scenario: Scenario, random: Random) -> None:
    """With lines, families and labels in any order, the table's answers are the same."""
    pages = {name: shuffled(page, random) for name, page in scenario.pages().items()}
    rows = random.sample(scenario.rows, min(4, len(scenario.rows)))
    run(scenario, pages, rows)


# Scenarios in which no two deployments share a GPU.
APART = [
    one
    for one in SCENARIOS
    if any(row.answer is not None for row in one.rows) and not any(row.shared for row in one.rows)
]


@pytest.mark.slow
@given(st.data(), st.sampled_from(APART))
def test_a_deployment_does_not_influence_another(data: st.DataObject, scenario: Scenario) -> None:
    """Whatever other pods' rows say, broken or not, a pod's answer is the same."""
    row = data.draw(st.sampled_from([row for row in scenario.rows if row.answer is not None]))
    namespace, _, app = row.ask.partition(" ")
    own = {
        pod.name.encode()
        for pod in scenario.cluster()
        if pod.namespace == namespace and app in ("", pod.labels["app"])
    }
    value = data.draw(st.sampled_from([b"0", b"1", b"100", b"2147483632", b"NaN", b"broken"]))
    pages = {}
    for name, page in scenario.pages().items():
        lines = []
        for line in page.splitlines(keepends=True):
            pod = re.search(rb'[{,]pod(?:_name)?="([^"]+)"', line)
            others = pod is not None and not any(b'"%s"' % one in line for one in own)
            lines.append(re.sub(rb" \S+\n$", b" %s\n" % value, line) if others else line)
        pages[name] = b"".join(lines)
    run(scenario, pages, [row])
