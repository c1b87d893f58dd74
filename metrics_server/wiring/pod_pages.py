"""What reads the pods' own pages, built from the configuration."""

from fnmatch import fnmatchcase
from functools import partial
from ipaddress import ip_network

from metrics_server.config.pod_pages import PodEndpointsConfig, PodPagesConfig
from metrics_server.errors import ConfigurationError
from metrics_server.rules.model import Rules
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.sources.pods.history import History
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.source import PodSource
from metrics_server.sources.pods.targets import urls_of
from metrics_server.sources.pods.ways import Entry, Ways
from metrics_server.wiring.access import access_files


def pod_source(config: PodPagesConfig, scraper: Scraper[PodPage]) -> PodSource:
    """Return the source of rules with `source: pods`."""
    locate = partial(
        urls_of,
        host_network=config.host_network,
        allowed=[ip_network(one) for one in config.networks],
    )
    return PodSource(
        locate,
        scraper,
        ways=Ways([_entry(*one) for one in enumerate(config.endpoints)]),
        history=History(config.max_history_bytes),
    )


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


def check_pod_pages(config: PodPagesConfig, rules: Rules) -> None:
    """Check that each entry of `podPages.endpoints` is for metrics that there are.

    Raises:
        ConfigurationError: a name or a pattern matches no metric of the pods' own pages.
    """
    metrics = [rule.name for rule in map(rules.find, rules.known()) if rule.measures == "pods"]
    for number, one in enumerate(config.endpoints):
        for pattern in one.metrics:
            if not any(fnmatchcase(metric, pattern) for metric in metrics):
                raise ConfigurationError(
                    f"podPages.endpoints.{number}.metrics: no rule with source: pods is called "
                    f"{pattern}"
                )
