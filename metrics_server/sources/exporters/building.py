"""The source that reads the GPU exporters, built from the configuration."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from metrics_server.config.access import AuthConfig, TlsConfig
from metrics_server.config.dialects import dialects_in_force
from metrics_server.config.sections import Config
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.endpoints import (
    EndpointSlice,
    EndpointStore,
    NamespacedEndpoints,
    ServiceRef,
    decode_endpoint_slice,
    service_selector,
)
from metrics_server.kube.nodes import NodeStore, decode_node
from metrics_server.kube.reflector import Reflector
from metrics_server.sources.access import access_files
from metrics_server.sources.exporters.ahead import ExportersAhead
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.remembering import RememberedRows
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.exporters.targets import DiscoveredTargets, StaticTargets, Way
from metrics_server.sources.pages.access import AccessFiles, AccessKeeper
from metrics_server.sources.pages.fetching import PageLimits
from metrics_server.sources.pages.parsing import Parser
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.sources.parts import Built, Parts, SourceWatch


@asynccontextmanager
async def exporter_source(parts: Parts) -> AsyncIterator[Built]:
    """The source of rules with `source: exporters`."""
    config = parts.config.exporters
    targets, watches = _targets(parts.client, parts.config, parts.urls)
    dialects = dialects_in_force(parts.config.dialects)
    remembered = RememberedRows()
    scraper = Scraper(
        lambda url, body, requested: Page(url, body, requested, dialects, remembered),
        timeout=config.timeout,
        max_age=config.max_age,
        max_concurrency=config.max_concurrency,
        limits=PageLimits(config.max_page_bytes, config.max_page_lines),
        access=targets.access,
        monitor=parts.monitor,
    )
    parser = Parser[Page]()
    async with scraper:
        yield Built(
            ExporterSource(targets, scraper, targets.why_none, parser),
            ExportersAhead(targets, scraper, parser),
            watches,
            {"exporters": targets.__len__, "scrapes": scraper.__len__},
        )


def _targets(
    client: KubernetesClient, config: Config, urls: tuple[str, ...]
) -> tuple[DiscoveredTargets | StaticTargets, Mapping[str, SourceWatch]]:
    """Where exporters are, and the watches that keep that in sync with the cluster."""
    exporters = config.exporters
    keepers: dict[AccessFiles, AccessKeeper] = {}

    def keeper(tls: TlsConfig | None, auth: AuthConfig | None) -> AccessKeeper:
        files = access_files(tls or exporters.tls, auth or exporters.auth, "exporters")
        return keepers.setdefault(files, AccessKeeper(files))

    every = (*exporters.urls, *urls)
    if every or not exporters.services:
        return StaticTargets(every, keeper(None, None)), {}
    ways = {
        ServiceRef(one.namespace, one.name, one.port): Way(
            one.scheme or exporters.scheme, one.path or exporters.path, keeper(one.tls, one.auth)
        )
        for one in exporters.services
    }
    nodes = NodeStore() if exporters.match_nodes_by_address else None
    endpoints = EndpointStore(ways, nodes)
    watches: dict[str, SourceWatch] = {}
    if nodes is not None:
        # In pages, because a Node is large.
        watches["nodes"] = Reflector(client, "/api/v1/nodes", decode_node, nodes, first_version="")

    def watch(
        path: str, services: Iterable[ServiceRef], store: EndpointStore | NamespacedEndpoints
    ) -> Reflector[EndpointSlice]:
        query = {"labelSelector": service_selector(services)}
        return Reflector(client, path, decode_endpoint_slice, store, query=query)

    group = "/apis/discovery.k8s.io/v1"
    if not config.pods.namespaces:
        watches["endpointslices"] = watch(f"{group}/endpointslices", ways, endpoints)
    else:
        # A server for some namespaces has rights only in these.
        for namespace in dict.fromkeys(one.namespace for one in ways):
            watches[f"endpointslices-{namespace}"] = watch(
                f"{group}/namespaces/{namespace}/endpointslices",
                [one for one in ways if one.namespace == namespace],
                NamespacedEndpoints(endpoints, namespace),
            )
    return DiscoveredTargets(endpoints, ways, by_address=nodes is not None), watches
