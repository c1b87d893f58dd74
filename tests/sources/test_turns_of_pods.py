"""Slow steps on pods' pages do not delay other requests."""

import asyncio
from collections.abc import Iterable

import pytest

from metrics_server.kube.pods import Pod
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources import turns as turns_module
from metrics_server.sources.pages.parsing import Parser
from metrics_server.sources.pages.scraper import Scraper, Scrapes
from metrics_server.sources.pods import source
from metrics_server.sources.pods.page import PodPage

PAGES = 16
POD = Pod("default", "web-0", {}, "node-a", "Running", ready=True, terminating=False, gpus=0)
RULE = MetricRule("queue", "", "", (Reading("m", 0, 100),), 100, sources=("pods",), measures="pods")


class Scraped(Scraper[PodPage]):
    """A scraper whose targets have the same page."""

    def __init__(self, body: bytes = b"m 1\n") -> None:
        self._body = body

    async def scrape(self, targets: Iterable[str], access: object = None, /) -> Scrapes[PodPage]:
        """Return a page for each target, at once."""
        del access
        return Scrapes({one: PodPage(one, self._body, 0) for one in targets}, 0)


async def test_other_tasks_run_between_the_pages_of_one_pod(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pod may have as many pages as its rule lists ports, each with thousands of series."""
    monkeypatch.setattr(turns_module, "_TURN_SECONDS", 0)
    urls = [f"http://10.0.0.1:{port}/metrics" for port in range(PAGES)]
    pods = source.PodSource(lambda *_: urls, Scraped())
    turns: list[None] = []

    async def count() -> None:
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    measured = await pods.collect(RULE, [POD])
    counting.cancel()
    assert sum(measured.samples[0].gpus) == PAGES
    assert len(turns) >= PAGES


async def test_a_page_that_takes_too_long_is_the_cause_that_is_reported() -> None:
    """The message does not say that the page has no rows of the metric."""
    url = "http://10.0.0.1:8000/metrics"
    body = b"".join(b'm{a="%d"} 1\n' % number for number in range(5000))
    pods = source.PodSource(lambda *_: [url], Scraped(body), parser=Parser(1e-9))
    measured = await pods.collect(RULE, [POD])
    (gap,) = measured.gaps
    assert (measured.samples, gap.reason) == ((), "pages-failed")
    assert gap.text == (
        f"pod web-0: {url} sent a page of 5000 lines, which was not parsed within 1e-09 s"
    )
