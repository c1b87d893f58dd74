"""Reads the exporters of pods that are about to be measured."""

from collections.abc import Sequence

from metrics_server.kube.pods import Pod
from metrics_server.rules.model import MetricRule
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.targets import Targets
from metrics_server.sources.pages.parsing import Parser
from metrics_server.sources.pages.scraper import Scraper


class ExportersAhead:
    """Reads ahead what an `ExporterSource` will need.

    Args:
        targets: where the exporters of a node are.
        scraper: reads their pages; that of the source.
        parser: parses them; that of the source.
    """

    def __init__(self, targets: Targets, scraper: Scraper[Page], parser: Parser[Page]) -> None:
        self._targets = targets
        self._scraper = scraper
        self._parser = parser

    async def prepare(self, rule: MetricRule, pods: Sequence[Pod], until: float) -> int:
        """Read the pages of these pods' nodes that are not fresh until then; return how many."""
        targets = self._targets.on_nodes({pod.node for pod in pods})
        urls = {url for urls in targets.values() for url in urls}
        scrapes = await self._scraper.scrape_ahead(urls, until)
        await self._parser.read(scrapes.outcomes, rule.readings)
        return scrapes.begun
