"""The part of the server that measures, built from the configuration."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from itertools import chain

import structlog

from metrics_server.common.tasks import background
from metrics_server.config.forms import is_in_the_clear
from metrics_server.config.sections import (
    Config,
    ExportersConfig,
    FallbackConfig,
    PodsConfig,
)
from metrics_server.errors import ConfigurationError
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.freshness import WatchedPods
from metrics_server.kube.pod_stores import PodStore, PodStores
from metrics_server.kube.pods import Pod, pod_decoder
from metrics_server.kube.reflector import Reflector
from metrics_server.measuring.ahead import Ahead
from metrics_server.measuring.fallback import FallbackChain, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.rhythms import Rhythms
from metrics_server.measuring.windows import Windows
from metrics_server.rules.lookup import Rules
from metrics_server.sources.parts import Parts, SourceWatch
from metrics_server.sources.registry import built_sources
from metrics_server.sources.routing import SourcesOfEachRule
from metrics_server.telemetry.metrics import Monitor

log = structlog.stdlib.get_logger(__name__)

Watch = Reflector[Pod] | SourceWatch


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
    parts = Parts(config, urls, client, pods.in_namespace, monitor)
    max_age = config.exporters.max_age
    async with built_sources(parts) as sources, Windows(period=max_age) as windows:
        rhythms = Rhythms(max_age)
        provider = MetricsProvider(
            rules=rules,
            pods=pods,
            measure=config.pods.measure,
            source=SourcesOfEachRule({name: one.source for name, one in sources.items()}),
            min_coverage=config.fallback.min_coverage,
            windows=windows,
            fallback=_fallback(config.fallback),
            incidents=incidents,
            monitor=monitor,
            answered=rhythms.asked if config.exporters.ask_ahead else None,
        )
        preparing = {name: one.ahead for name, one in sources.items() if one.ahead is not None}
        ahead = Ahead(rhythms, provider.pods_of, preparing)
        monitor.follow_ahead(
            lambda: rhythms.pages, {"used": lambda: rhythms.used, "unused": lambda: rhythms.unused}
        )
        own = {"pods": pods.__len__, "answers": provider.__len__, "rhythms": rhythms.__len__}
        sizes = [own, *(one.sizes for one in sources.values())]
        monitor.follow_sizes({name: partial(_size, name, sizes) for name in chain(*sizes)})
        asks_ahead = config.exporters.ask_ahead
        watches = {name: watch for one in sources.values() for name, watch in one.watches.items()}
        async with background("ask-ahead", ahead.run) if asks_ahead else nullcontext():
            yield provider, pods, {**pod_watches, **watches}


def _size(name: str, sizes: Iterable[Mapping[str, Callable[[], int]]]) -> int:
    """How many entries of one kind all parts have in total."""
    return sum(of_part[name]() for of_part in sizes if name in of_part)


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


def _pods(
    client: KubernetesClient, config: PodsConfig
) -> tuple[WatchedPods | PodStores, Mapping[str, Watch]]:
    """The pods that can be selected, and the watches that keep them in sync."""
    decode = pod_decoder(config.gpu_resources, endpoints=True)

    def watched(path: str) -> tuple[WatchedPods, Reflector[Pod]]:
        # In pages: from its cache an API server sends all pods at once, which is gigabytes in a
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


def _fallback(config: FallbackConfig) -> FallbackChain:
    return FallbackChain(
        config.chain,
        last_known_max_age=config.last_known_max_age,
        simulated=Simulated(config.simulated.base, config.simulated.spread),
    )
