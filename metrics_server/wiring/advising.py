"""The part of the server that warns about HPAs that cannot work, built from the configuration."""

from collections.abc import Callable, Collection, Coroutine, Mapping

from msgspec import Struct

from metrics_server.advising.fallbacks import FallbackEvents
from metrics_server.advising.findings import Setup
from metrics_server.advising.names import MetricNames
from metrics_server.advising.watcher import Pods, Watcher
from metrics_server.config.sections import Config
from metrics_server.kube.autoscalers import Autoscaler, MetricType, autoscaler_decoder
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.events import Events
from metrics_server.kube.reflector import Reflector
from metrics_server.kube.workloads import Workloads
from metrics_server.measuring.fallback import Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.rules.lookup import Rules
from metrics_server.telemetry.metrics import Monitor
from metrics_server.wiring.metrics import Watch

_GROUP = "/apis/autoscaling/v2"


class Advising(Struct, frozen=True):
    """The parts that warn about HPAs. The server works without them, so no health check needs them.

    Attributes:
        watches: what keeps the HPAs in sync with the cluster.
        runs: what checks them and emits events, by name.
    """

    watches: Mapping[str, Reflector[Autoscaler]]
    runs: Mapping[str, Callable[[], Coroutine[object, object, None]]]


def setup_of(config: Config, rules: Rules) -> Setup:
    """Return the parts of the configuration that the checks of HPAs need.

    Args:
        config: the configuration file.
        rules: the metrics that are served.
    """
    types: set[MetricType] = set()
    if config.external_metrics:
        types.add("External")
    if config.custom_metrics:
        types |= {"Pods", "Object"}
    fallback = config.fallback
    return Setup(
        names=MetricNames(rules),
        types=types,
        fallback=fallback.chain,
        last_known_max_age=fallback.last_known_max_age,
        simulated=Simulated(fallback.simulated.base, fallback.simulated.spread),
    )


def advising(
    client: KubernetesClient,
    config: Config,
    rules: Rules,
    *,
    pods: Pods,
    pod_watches: Collection[Watch],
    incidents: Incidents,
    monitor: Monitor,
) -> Advising:
    """Return the parts that warn about HPAs.

    Args:
        client: of the Kubernetes API.
        config: the configuration file.
        rules: the metrics that are served.
        pods: the pods of the cluster.
        pod_watches: what keeps them in sync.
        incidents: of the questions that HPAs ask.
        monitor: reports how many findings there are.
    """
    setup = setup_of(config, rules)
    events = Events(client)
    watcher = Watcher(setup, pods, events)
    fallbacks = FallbackEvents(watcher.in_namespace, Workloads(client), events)
    incidents.follow(fallbacks.turn)
    monitor.follow_hpa_findings(watcher.counts)
    decode = autoscaler_decoder(setup.names.may_be_meant)

    def watch(path: str) -> Reflector[Autoscaler]:
        # In pages, as a large cluster may have thousands.
        return Reflector(client, path, decode, watcher.store(), first_version="")

    async def check() -> None:
        for one in pod_watches:
            await one.synced.wait()
        await watcher.run()

    async def report() -> None:
        # Until the HPAs are known, incidents wait.
        for one in watches.values():
            await one.synced.wait()
        await fallbacks.run()

    resource = "horizontalpodautoscalers"
    watches = {
        f"{resource}-{name}": watch(f"{_GROUP}/namespaces/{name}/{resource}")
        for name in config.pods.namespaces
    } or {resource: watch(f"{_GROUP}/{resource}")}
    return Advising(watches, {"check-hpas": check, "report-fallbacks": report})
