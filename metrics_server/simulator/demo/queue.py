"""The demo of the queue: an HPA that scales inference engines on it, to zero and back."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.hpa import (
    ExternalMetric,
    HorizontalPodAutoscaler,
    Metric,
    PodsMetric,
)
from metrics_server.simulator.cluster import Cluster, simulated_nodes
from metrics_server.simulator.controller import Controller, Sync, metric_path
from metrics_server.simulator.demo.moments import QueueMoment
from metrics_server.simulator.demo.options import (
    TARGET_HELD,
    TARGET_IN_FLIGHT,
    TARGET_WAITING,
    DemoOptions,
    MetricType,
    Tempo,
)
from metrics_server.simulator.demo.scene import Commands, LoadRange, Scene
from metrics_server.simulator.demo.text import ending, replicas_of, scalings, times
from metrics_server.simulator.engines.fleet import Fleet
from metrics_server.simulator.engines.traffic import BATCH, Arrivals, Steady, Traffic
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS

_UTILIZATION = ExternalMetric("gpu_utilization", manifests.SELECTOR, "Value", 70_000)
_HELD = ExternalMetric(
    "inference_queue_size", manifests.GATEWAY_SELECTOR, "AverageValue", TARGET_HELD * 1000
)
_RUNNING = ExternalMetric(
    "inference_running_requests",
    manifests.GATEWAY_SELECTOR,
    "AverageValue",
    TARGET_IN_FLIGHT * 1000,
)
# The share of the requests that all GPUs together could answer.
_PEAK = 0.35


@asynccontextmanager
async def queue(
    api: KubernetesAPI, options: DemoOptions, tempo: Tempo
) -> AsyncIterator["QueueScene"]:
    """The scene, for as long as the context."""
    gpus = [gpu.uuid for node in simulated_nodes(options.nodes) for gpu in node.gpus]
    arrivals = _changing_arrivals(len(gpus), tempo)
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(Fleet(Traffic(arrivals, tempo.service), gpus))
        cluster = await stack.enter_async_context(
            Cluster(
                api,
                nodes=options.nodes,
                load=fleet,
                loading_seconds=tempo.loading,
                deleting_seconds=tempo.deleting,
                page_port=fleet.port_of,
            )
        )
        cluster.scale(max(1, cluster.capacity // 12), ready=True)
        api.apply(PODS, manifests.gateway_pod(fleet.gateway_port))
        hpa = HorizontalPodAutoscaler(
            namespace=manifests.NAMESPACE,
            metrics=(waiting_metric(options.metric_type), _HELD, _RUNNING),
            min_replicas=0,
            max_replicas=cluster.capacity,
            stabilization_window=tempo.stabilization,
        )
        yield QueueScene(options, tempo, cluster, hpa, fleet)


def waiting_metric(kind: MetricType, target: int = TARGET_WAITING * 1000) -> Metric:
    """Return the HPA's first metric, with a target in thousandths of a request."""
    name = "llm_requests_waiting"
    if kind == "pods":
        return PodsMetric(name, target, source="pods")
    return ExternalMetric(name, manifests.SELECTOR, "Value", target)


def _changing_arrivals(gpus: int, tempo: Tempo) -> Arrivals:
    return Arrivals(peak=_most(gpus, tempo) * _PEAK, busy=tempo.busy, quiet=tempo.quiet)


def _most(gpus: int, tempo: Tempo) -> float:
    """Return the requests per second that all GPUs together can answer."""
    return gpus * BATCH / tempo.service


class QueueScene(Scene):
    """A load that GPU utilization does not show.

    Args:
        options: the flags.
        tempo: the durations.
        cluster: the cluster.
        hpa: the HPA.
        fleet: the engines of the cluster's pods.
    """

    def __init__(
        self,
        options: DemoOptions,
        tempo: Tempo,
        cluster: Cluster,
        hpa: HorizontalPodAutoscaler,
        fleet: Fleet,
    ) -> None:
        super().__init__(options, tempo, cluster, hpa)
        self._fleet = fleet
        self._began: float | None = None

    @property
    def settings(self) -> Mapping[str, Mapping[str, object]]:
        """The server's configuration: pods on loopback, and no number that is not measured."""
        return {
            **super().settings,
            "podPages": {"networks": ["127.0.0.0/8"]},
            "fallback": {"chain": ["error"]},
        }

    @property
    def load_range(self) -> LoadRange:
        """From nothing to as many requests as all GPUs can answer."""
        return LoadRange("requests/s", _most(self.cluster.capacity, self.tempo), 0.5)

    def hold_load(self, amount: float | None) -> None:
        """Let this many requests arrive per second, or with None let the load vary again."""
        changing = _changing_arrivals(self.cluster.capacity, self.tempo)
        self._fleet.traffic.arrivals = changing if amount is None else Steady(amount)

    def step(self) -> None:
        """Advance the cluster and its requests to the present."""
        super().step()
        self._fleet.advance(self._elapsed, self.cluster.pods)

    @property
    def _elapsed(self) -> float:
        """The seconds since the first step: the time of the requests."""
        if self._began is None:
            self._began = self.cluster.elapsed
        return self.cluster.elapsed - self._began

    async def moment(self, seconds: float, sync: Sync, controller: Controller) -> QueueMoment:
        """Return what to show after a sync, this many seconds after the start."""
        waiting, held = sync.decision.current[0], sync.readings[1].total
        utilization = await controller.read(_UTILIZATION)
        return QueueMoment(
            seconds=seconds,
            arrivals=self._fleet.traffic.rate(self._elapsed),
            waiting=None if waiting is None else waiting / 1000,
            target=self.hpa.metrics[0].target / 1000,
            utilization=None if utilization is None else utilization / 1000,
            held=None if held is None else held // 1000,
            ready=self.cluster.ready_pods,
            replicas=self.cluster.replicas,
            source=sync.readings[0].source,
            reason=sync.decision.reason,
        )

    def introduction(self, url: str, commands: Commands) -> str:
        """Return what is real and what is simulated, and commands to try."""
        options, tempo, namespace = self.options, self.tempo, self.hpa.namespace
        gpus, kind = self.cluster.capacity, options.metric_type.capitalize()
        signal, *_ = self.hpa.metrics
        paths = [metric_path(namespace, metric) for metric in (signal, _HELD, _UTILIZATION)]
        return f"""\
gpu-metrics-server is serving at {url}: the real server, over real TLS.
Simulated: a Kubernetes API; {options.nodes} nodes with {gpus} GPUs; a Deployment of vLLM pods,
each of which answers {BATCH} requests at once, in {tempo.service:g} s; their gateway, which holds
requests while no pod is Ready; an HPA, which requests its metrics every {tempo.sync:g} s (a real
one: 15 s). There are requests for {tempo.busy:g} s, then none for {tempo.quiet:g} s, and so on.

The HPA has three metrics, and the one that calls for the most replicas decides:
  llm_requests_waiting        target {TARGET_WAITING} a pod, type {kind}: the queue in the pods
  inference_queue_size        target {TARGET_HELD} a pod, type External: the queue at the gateway,
                              which brings the Deployment back from zero
  inference_running_requests  target {TARGET_IN_FLIGHT} a pod, type External: requests in flight,
                              which keep the pods that work on them
GPU utilization is shown beside them: a single request makes it 100 %.

{ending(options)}

{commands.to_try(signal.name, paths)}
"""

    def summary(self, syncs: Sequence[Sync]) -> str:
        """Return what the HPA did."""
        changes = list(pairwise(replicas_of(syncs)))
        to_zero = sum(after == 0 < before for before, after in changes)
        back = sum(before == 0 < after for before, after in changes)
        zero = "It did not go to zero."
        if to_zero:
            returned = f"came back {times(back)}" if back else "stayed there"
            zero = f"It went to zero {times(to_zero)}, and {returned}."
        requested = f"The HPA requested its metrics {times(len(syncs))}."
        return f"{requested} {scalings(syncs)}\n{zero}"
