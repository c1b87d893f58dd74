"""Why pods have no value, for one pod and for several with the same cause."""

from collections.abc import Iterable, Sequence

import pytest

from metrics_server.errors import ScrapeError
from metrics_server.kube.pod_endpoints import PodEndpoint
from metrics_server.kube.pods import Pod
from metrics_server.rules.model import Endpoint, MetricRule, Reading
from metrics_server.sources.pages.scraper import Scraper, Scrapes
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.source import PodSource
from metrics_server.sources.pods.targets import urls_of

URL = "http://10.0.0.1:8000/metrics"
RULE = MetricRule("queue", "", "", (Reading("m", 0, 100),), 100, sources=("pods",), measures="pods")
FAILED = ScrapeError("answered HTTP 500", "http-status")


class Scraped(Scraper[PodPage]):
    """A scraper whose pages all have the same outcome."""

    def __init__(self, outcome: PodPage | ScrapeError) -> None:
        self._outcome = outcome

    async def scrape(self, targets: Iterable[str], access: object = None, /) -> Scrapes[PodPage]:
        """Return it for each target."""
        del access
        return Scrapes(dict.fromkeys(targets, self._outcome), 0)


def pods(names: str) -> Sequence[Pod]:
    """Pods with these names."""
    return [
        Pod("default", name, {}, "node", "Running", ready=True, terminating=False, gpus=0)
        for name in names
    ]


def somewhere(_: PodEndpoint | None, __: Endpoint) -> Sequence[str]:
    """A page for each of them."""
    return [URL]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a", "pod a has no IP address yet"),
        ("ab", "each of pods a, b has no IP address yet"),
        ("abcde", "each of pods a, b, c and 2 more has no IP address yet"),
    ],
)
async def test_pods_without_a_page(names: str, expected: str) -> None:
    """They have no address yet."""
    source = PodSource(urls_of, Scraped(FAILED))
    (gap,) = (await source.collect(RULE, pods(names))).gaps
    assert gap.text == expected


@pytest.mark.parametrize(
    ("names", "failed", "empty"),
    [
        ("a", "pod a: ", "the page of pod a "),
        ("ab", "pods a, b: ", "the page of each of pods a, b "),
    ],
)
async def test_pods_without_a_value(names: str, failed: str, empty: str) -> None:
    """Their pages cannot be read, or do not have the metric."""
    source = PodSource(somewhere, Scraped(FAILED))
    (gap,) = (await source.collect(RULE, pods(names))).gaps
    assert gap.text == f"{failed}{URL} answered HTTP 500"
    source = PodSource(somewhere, Scraped(PodPage(URL, b"x 1\n", 0)))
    (gap,) = (await source.collect(RULE, pods(names))).gaps
    assert gap.text.startswith(f"{empty}has none of the families")
