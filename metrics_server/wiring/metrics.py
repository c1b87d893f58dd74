"""The part of the server that measures, built from the configuration."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext

import structlog

from metrics_server.common.tasks import background
from metrics_server.config.access import AuthConfig, TlsConfig
from metrics_server.config.dialects import DialectConfig
from metrics_server.config.forms import is_in_the_clear
from metrics_server.config.sections import (
    Config,
    ExportersConfig,
    FallbackConfig,
    PodsConfig,
)
from metrics_server.errors import ConfigurationError
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.endpoints import (
    EndpointSlice,
    EndpointStore,
    NamespacedEndpoints,
    ServiceRef,
    decode_endpoint_slice,
    service_selector,
)
from metrics_server.kube.freshness import WatchedPods
from metrics_server.kube.nodes import Node, NodeStore, decode_node
from metrics_server.kube.pod_stores import PodStore, PodStores
from metrics_server.kube.pods import Pod, pod_decoder
from metrics_server.kube.reflector import Reflector
from metrics_server.measuring.ahead import Ahead
from metrics_server.measuring.fallback import FallbackChain, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.rhythms import Rhythms
from metrics_server.measuring.windows import Windows
from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import Rules
from metrics_server.rules.presets import DIALECTS
from metrics_server.sources.exporters.ahead import ExportersAhead
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.exporters.targets import DiscoveredTargets, StaticTargets, Way
from metrics_server.sources.pages.access import AccessFiles, AccessKeeper
from metrics_server.sources.pages.fetching import PageLimits
from metrics_server.sources.pages.parsing import Parser
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.routing import SourcesOfEachRule
from metrics_server.telemetry.metrics import Monitor
from metrics_server.wiring.access import access_files
from metrics_server.wiring.pod_pages import pod_source
from metrics_server.wiring.prometheus import prometheus_source

log = structlog.stdlib.get_logger(__name__)

Watch = Reflector[Pod] | Reflector[EndpointSlice] | Reflector[Node]


@asynccontextmanager
async def providing(
    client: KubernetesClient,
    config: Config,
    urls: tuple[str, ...],
    rules: Rules,
    *,
    incidents: Incidents,
    monitor: Monitor,
) -> AsyncIterator[tuple[MetricsProvider, WatchedPods | PodStores, Mapping[str, Watch]]]:
    """A provider, the pods that it measures, and the watches it depends on.

    Args:
        client: of the Kubernetes API.
        config: the configuration file.
        urls: URLs of exporters from the command line.
        rules: the metrics that can be asked for.
        incidents: keeps track of questions without a measurement.
        monitor: counts what happens.
    """
    pods, pod_watches = _pods(client, config.pods)
    targets, endpoint_watches = _targets(client, config, urls)
    dialects = dialects_in_force(config.dialects)
    scraper = Scraper(
        lambda url, body, requested: Page(url, body, requested, dialects),
        timeout=config.exporters.timeout,
        max_age=config.exporters.max_age,
        max_concurrency=config.exporters.max_concurrency,
        limits=PageLimits(config.exporters.max_page_bytes, config.exporters.max_page_lines),
        access=targets.access,
        monitor=monitor,
    )
    pages = config.pod_pages
    pod_scraper = Scraper(
        PodPage,
        timeout=config.exporters.timeout,
        max_age=config.exporters.max_age,
        max_concurrency=config.exporters.max_concurrency,
        limits=PageLimits(pages.max_page_bytes, pages.max_page_lines, "podPages"),
        monitor=monitor,
    )
    prometheus = prometheus_source(
        config.prometheus,
        pods.in_namespace,
        reuse=config.exporters.max_age,
        dialects=dialects,
        monitor=monitor,
    )
    async with (
        scraper,
        pod_scraper,
        prometheus as queried,
        Windows(period=config.exporters.max_age) as windows,
    ):
        parser = Parser[Page]()
        of_pods = pod_source(config.pod_pages, pod_scraper)
        sources = SourcesOfEachRule(
            {
                "exporters": ExporterSource(targets, scraper, targets.why_none, parser),
                "pods": of_pods,
                **({} if queried is None else {"prometheus": queried}),
            }
        )
        rhythms = Rhythms(config.exporters.max_age)
        provider = MetricsProvider(
            rules=rules,
            pods=pods,
            measure=config.pods.measure,
            source=sources,
            min_coverage=config.fallback.min_coverage,
            windows=windows,
            fallback=_fallback(config.fallback),
            incidents=incidents,
            monitor=monitor,
            answered=rhythms.asked if config.exporters.ask_ahead else None,
        )
        ahead = Ahead(
            rhythms,
            provider.pods_of,
            {"exporters": ExportersAhead(targets, scraper, parser), "pods": of_pods},
        )
        monitor.follow_ahead(
            lambda: rhythms.pages, {"used": lambda: rhythms.used, "unused": lambda: rhythms.unused}
        )
        monitor.follow_sizes(
            {
                "pods": pods.__len__,
                "exporters": targets.__len__,
                "scrapes": lambda: len(scraper) + len(pod_scraper),
                "answers": provider.__len__,
                "rhythms": rhythms.__len__,
            }
        )
        asks_ahead = config.exporters.ask_ahead
        async with background("ask-ahead", ahead.run) if asks_ahead else nullcontext():
            yield provider, pods, {**pod_watches, **endpoint_watches}


def check_exporters(
    config: ExportersConfig, urls: Sequence[str], *, are_needed: bool = True
) -> None:
    """Check the configuration together with the flags.

    Args:
        config: of the file.
        urls: URLs of exporters from the command line.
        are_needed: whether any rule is read from exporters.

    Raises:
        ConfigurationError: no exporter is configured, or secrets would be sent in the clear.
    """
    if are_needed and not (config.services or config.urls or urls):
        raise ConfigurationError(
            "exporters.services: is empty, and neither exporters.urls nor --exporter names an "
            "exporter"
        )
    in_the_clear = list(filter(is_in_the_clear, urls))
    if config.auth.has_credentials and in_the_clear:
        raise ConfigurationError(
            "exporters: auth would be sent in the clear, because of --exporter "
            f"{', '.join(in_the_clear)}"
        )


def dialects_in_force(user: Sequence[DialectConfig]) -> tuple[Dialect, ...]:
    """The user's dialects, then the built-in ones that they do not replace by name."""
    if not user:
        return DIALECTS
    own = [
        Dialect(
            name=one.name,
            marks=tuple(dict.fromkeys((one.gpu[0], *one.labels))),
            gpu=one.gpu,
            namespace=one.namespace,
            pod=one.pod,
            hosts=one.hosts,
            stems=one.stems,
        )
        for one in user
    ]
    names = {one.name for one in own}
    return (*own, *(one for one in DIALECTS if one.name not in names))


def _pods(
    client: KubernetesClient, config: PodsConfig
) -> tuple[WatchedPods | PodStores, Mapping[str, Watch]]:
    """The pods that can be selected, and what keeps them in sync with the cluster."""
    decode = pod_decoder(config.gpu_resources, endpoints=True)

    def watched(path: str) -> tuple[WatchedPods, Reflector[Pod]]:
        # In pages: from its cache an API server sends all pods at once, which is gigabytes of a
        # large cluster.
        store = PodStore()
        reflector = Reflector(client, path, decode, store, first_version="")
        return WatchedPods(store, reflector), reflector

    if not config.namespaces:
        pods, reflector = watched("/api/v1/pods")
        return pods, {"pods": reflector}
    log.info("only some namespaces are watched", namespaces=config.namespaces)
    each = {name: watched(f"/api/v1/namespaces/{name}/pods") for name in config.namespaces}
    return (
        PodStores({name: pods for name, (pods, _) in each.items()}),
        {f"pods-{name}": reflector for name, (_, reflector) in each.items()},
    )


def _targets(
    client: KubernetesClient, config: Config, urls: tuple[str, ...]
) -> tuple[DiscoveredTargets | StaticTargets, Mapping[str, Watch]]:
    """Where exporters are, and what keeps that in sync with the cluster."""
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
    watches: dict[str, Watch] = {}
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


def _fallback(config: FallbackConfig) -> FallbackChain:
    return FallbackChain(
        config.chain,
        last_known_max_age=config.last_known_max_age,
        simulated=Simulated(config.simulated.base, config.simulated.spread),
    )
