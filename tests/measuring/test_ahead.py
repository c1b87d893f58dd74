"""Reading pages before questions about them: real exporters, with time set by the test."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Self

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from metrics_server.common.tasks import background
from metrics_server.errors import MeasurementMissingError, NoPodMatchesError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.measuring.ahead import Ahead
from metrics_server.measuring.fallback import FallbackChain, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.rhythms import Rhythms
from metrics_server.measuring.samples import Answer, Question
from metrics_server.measuring.windows import Windows
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.exporters.ahead import ExportersAhead
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.pages.parsing import Parser
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.source import PodSource
from metrics_server.sources.routing import SourcesOfEachRule
from metrics_server.telemetry.metrics import Monitor
from tests.support.clock import Clock
from tests.support.collecting import RULE, Nodes
from tests.support.exporters import PageExporter, page
from tests.support.waiting import until

PERIOD = 15.0
QUEUE = MetricRule(
    "queue", "", "", (Reading("m", 0, 100),), 100, sources=("pods",), measures="pods"
)
# Time passes only when the test says so, so a look may be this late.
JUST_BEFORE = 0.02


class Scene:
    """A provider that reads ahead, and its sources; an asynchronous context manager.

    Attributes:
        clock: the time.
        exporters: by node, each with a pod of the same name.
        rhythms: the expected questions.
        provider: the provider.
        monitored: the server's own metrics.
    """

    def __init__(self, *nodes: str) -> None:
        self.clock = Clock(1000)
        self.exporters = {
            node: PageExporter(page({("default", node): [40]}) + "m 7\n") for node in nodes
        }
        self.rhythms = Rhythms(max_age=2)
        self.monitored = CollectorRegistry()
        self._pods = tuple(
            Pod("default", node, {"app": node, "all": "yes"}, node, "Running", True, False, 1)  # noqa: FBT003
            for node in nodes
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for exporter in self.exporters.values():
            await self._stack.enter_async_context(exporter)
        monitor = Monitor(self.monitored)
        urls = {node: (exporter.url,) for node, exporter in self.exporters.items()}
        scraper: Scraper[Page] = Scraper(
            Page, timeout=5, max_age=2, max_concurrency=8, monitor=monitor, clock=self.clock
        )
        own: Scraper[PodPage] = Scraper(
            PodPage, timeout=5, max_age=2, max_concurrency=8, monitor=monitor, clock=self.clock
        )
        await self._stack.enter_async_context(scraper)
        await self._stack.enter_async_context(own)
        windows = await self._stack.enter_async_context(Windows(period=60))
        parser, targets = Parser[Page](), Nodes(urls)
        of_pods = PodSource(lambda *_: [self.exporters["a"].url], own)
        self.provider = MetricsProvider(
            rules=Rules([RULE, QUEUE]),
            pods=self,
            measure="ready",
            source=SourcesOfEachRule(
                {"exporters": ExporterSource(targets, scraper, parser=parser), "pods": of_pods}
            ),
            min_coverage=0.5,
            windows=windows,
            fallback=FallbackChain(["error"], last_known_max_age=1, simulated=Simulated()),
            incidents=Incidents(),
            monitor=monitor,
            answered=self.rhythms.asked,
            clock=self.clock,
        )
        ahead = Ahead(
            self.rhythms,
            self.provider.pods_of,
            {"exporters": ExportersAhead(targets, scraper, parser), "pods": of_pods},
            self.clock,
        )
        await self._stack.enter_async_context(background("ask-ahead", ahead.run))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """The pods."""
        return self._pods if namespace == "default" else ()

    def lose_pods(self) -> None:
        """Remove all pods."""
        self._pods = ()

    @property
    def scrapes(self) -> int:
        """The total number of scrapes."""
        return sum(one.scrapes for one in self.exporters.values())

    def has_scraped(self, node: str, times: int) -> bool:
        """Whether an exporter has been scraped this many times."""
        return self.exporters[node].scrapes == times

    def learn(self, question: Question) -> None:
        """Record a question as asked regularly, and due in a period."""
        for times in range(5, -1, -1):
            self.rhythms.asked(question, self.clock() - times * PERIOD, 1)

    async def ask(self, question: Question) -> Answer:
        """The current answer."""
        return await self.provider.answer(question)

    def counted(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """One of the server's own metrics."""
        value = self.monitored.get_sample_value(f"gpu_metrics_server_{name}", dict(labels or {}))
        return value or 0


def question(selector: str = "app=a", metric: str = "gpu_utilization") -> Question:
    """A question about pods in the namespace default."""
    return Question("default", metric, parse_selector(selector))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Two nodes."""
    async with Scene("a", "b") as one:
        yield one


@pytest.mark.parametrize("metric", ["gpu_utilization", "queue"])
async def test_an_answer_at_the_expected_time_needs_no_scrape(scene: Scene, metric: str) -> None:
    """The page was read just before, and is still read only once per period."""
    scene.learn(question(metric=metric))
    for times in range(1, 4):
        scene.clock.advance(PERIOD - JUST_BEFORE)
        await until(partial(scene.has_scraped, "a", times))
        assert scene.scrapes == times
        read = scene.clock()
        scene.clock.advance(JUST_BEFORE)
        answer = await scene.ask(question(metric=metric))
        assert (answer.value, answer.timestamp) == (7 if metric == "queue" else 40, read)
        assert scene.scrapes == times
    assert (scene.rhythms.used, scene.rhythms.unused) == (3, 0)


async def test_all_pages_of_a_question_are_read(scene: Scene) -> None:
    """Pages that another question has already read are not read again."""
    both, one = question("all=yes"), question("app=b")
    scene.learn(both)
    scene.learn(one)
    scene.clock.advance(PERIOD - JUST_BEFORE)
    await until(lambda: scene.rhythms.pages == 2)
    scene.clock.advance(JUST_BEFORE)
    await asyncio.gather(scene.ask(both), scene.ask(one))
    assert [exporter.scrapes for exporter in scene.exporters.values()] == [1, 1]
    assert (scene.rhythms.used, scene.rhythms.unused) == (2, 0)


@pytest.mark.slow
async def test_nothing_is_read_for_a_question_that_stops(scene: Scene) -> None:
    """The page is read once more, when expected, while another question continues."""
    stops, other = question("app=a"), question("app=b")
    scene.learn(stops)
    scene.learn(other)
    for times in range(1, 5):
        scene.clock.advance(PERIOD - JUST_BEFORE)
        await until(partial(scene.has_scraped, "b", times))
        scene.clock.advance(JUST_BEFORE)
        await scene.ask(other)
    assert scene.exporters["a"].scrapes == 1


async def test_reading_ahead_is_not_counted_as_a_question(scene: Scene) -> None:
    """Only its scrapes are counted, like any others."""
    scene.learn(question())
    scene.clock.advance(PERIOD - JUST_BEFORE)
    await until(lambda: scene.rhythms.pages == 1)
    assert scene.counted("scrape_duration_seconds_count", {"outcome": "ok"}) == 1
    assert scene.counted("sample_age_seconds_count") == 0
    assert scene.counted("question_pods_total", {"state": "selected"}) == 0
    assert len(scene.provider) == 0


async def test_a_question_that_failed_is_not_expected(scene: Scene) -> None:
    """A question without an answer is not expected, and a failing page is read no more often."""
    scene.exporters["a"].status = 500
    with pytest.raises(MeasurementMissingError):
        await scene.ask(question())
    with pytest.raises(NoPodMatchesError):
        await scene.ask(question("app=c"))
    assert len(scene.rhythms) == 0
    scene.learn(question(metric="queue"))
    scene.clock.advance(PERIOD - JUST_BEFORE)
    await until(lambda: scene.exporters["a"].scrapes == 2)
    scene.clock.advance(JUST_BEFORE)
    with pytest.raises(MeasurementMissingError):
        await scene.ask(question(metric="queue"))
    assert scene.exporters["a"].scrapes == 2


async def test_pods_that_are_gone_are_no_fault(scene: Scene) -> None:
    """Nothing is logged as an error; other questions are read ahead as before."""
    scene.learn(Question("elsewhere", "gpu_utilization", parse_selector("app=a")))
    scene.learn(question())
    with capture_logs() as logs:
        scene.clock.advance(PERIOD - JUST_BEFORE)
        await until(lambda: scene.rhythms.pages == 1)
    assert not [log for log in logs if log["log_level"] == "error"]
    assert scene.scrapes == 1


async def test_it_goes_on_after_a_failure_of_its_own() -> None:
    """The failure is logged: nothing else would show it."""
    rhythms, clock, calls = Rhythms(2), Clock(1000), list[Question]()

    def select(one: Question) -> tuple[MetricRule, Sequence[Pod]]:
        calls.append(one)
        raise ZeroDivisionError

    for app in ("a", "b"):
        for times in range(5, -1, -1):
            rhythms.asked(question(f"app={app}"), clock() - times * PERIOD, 1)
    with capture_logs() as logs:
        async with background("ask-ahead", Ahead(rhythms, select, {}, clock).run) as task:
            clock.advance(PERIOD - JUST_BEFORE)
            await until(lambda: len(calls) == 2)
            assert not task.done()
    assert [log["event"] for log in logs] == ["asking ahead failed"] * 2


async def test_it_stops_while_an_exporter_hangs() -> None:
    """No task is left behind; the check for that is in tests/conftest.py."""
    async with Scene("a") as scene:
        scene.exporters["a"].may_answer.clear()
        scene.learn(question())
        scene.clock.advance(PERIOD - JUST_BEFORE)
        await until(lambda: scene.scrapes == 1)
