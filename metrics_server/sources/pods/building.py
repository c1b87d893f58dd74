"""The source that reads the pods' own pages, built from the configuration."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network

from metrics_server.config.pod_pages import PodEndpointsConfig
from metrics_server.sources.access import access_files
from metrics_server.sources.pages.fetching import PageLimits
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.sources.parts import Built, Parts
from metrics_server.sources.pods.history import History
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.room import SeriesRoom
from metrics_server.sources.pods.source import PodSource
from metrics_server.sources.pods.targets import urls_of
from metrics_server.sources.pods.ways import Entry, Ways


@asynccontextmanager
async def pod_source(parts: Parts) -> AsyncIterator[Built]:
    """The source of rules with `source: pods`."""
    config = parts.config.pod_pages
    # How often and how fast pages are read is the same as for exporters.
    scraping = parts.config.exporters
    scraper = Scraper(
        partial(PodPage, room=SeriesRoom()),
        timeout=scraping.timeout,
        max_age=scraping.max_age,
        max_concurrency=scraping.max_concurrency,
        limits=PageLimits(config.max_page_bytes, config.max_page_lines, "podPages"),
        monitor=parts.monitor,
    )
    locate = partial(
        urls_of,
        host_network=config.host_network,
        allowed=[ip_network(one) for one in config.networks],
    )
    ways = Ways([_entry(*one) for one in enumerate(config.endpoints)])
    source = PodSource(locate, scraper, ways=ways, history=History(config.max_history_bytes))
    async with scraper:
        yield Built(source, source, sizes={"scrapes": scraper.__len__})


def _entry(number: int, config: PodEndpointsConfig) -> Entry:
    return Entry(
        frozenset(config.namespaces),
        config.metrics,
        config.endpoint(),
        access_files(
            config.tls,
            config.auth,
            f"podPages.endpoints.{number}",
            allow_http=config.allow_http,
        ),
    )
