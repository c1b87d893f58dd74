"""The demo of GPU utilization: an HPA that scales on it, and faults of exporters."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.hpa import (
    ExternalMetric,
    HorizontalPodAutoscaler,
    Metric,
    PodsMetric,
)
from metrics_server.simulator.cluster import GPUS_PER_NODE, Cluster
from metrics_server.simulator.controller import Controller, Sync, metric_path
from metrics_server.simulator.demo.moments import UtilizationMoment
from metrics_server.simulator.demo.options import (
    TARGET_PERCENT,
    DemoOptions,
    MetricType,
    Tempo,
    fault_times,
)
from metrics_server.simulator.demo.scene import Commands, LoadRange, Scene
from metrics_server.simulator.demo.text import ending, scalings, times
from metrics_server.simulator.gpus.workload import Load
from metrics_server.simulator.kube.api import KubernetesAPI

_EFFECTS: dict[tuple[MetricType, bool], str] = {
    ("external", False): (
        "The server then falls back to the last known value (last-known), to a simulated one\n"
        "(simulated), or to an error, which leaves the replicas unchanged.\n"
    ),
    ("external", True): (
        "The metric is then the mean over the pods of the other nodes; if those are fewer than\n"
        "half of all pods, the server falls back to the last known value or a simulated one.\n"
    ),
    ("pods", False): (
        "The server then has no value for any pod, and answers with an error, which leaves the\n"
        "replicas unchanged: a Pods metric has no fallback.\n"
    ),
    ("pods", True): (
        "The server then leaves out the pods of its node. The HPA counts them as idle before it\n"
        "adds replicas, and as exactly at the target before it removes any: it scales by less.\n"
    ),
}
"""What a fault leads to, by the metric's type and whether only one exporter has it."""


@asynccontextmanager
async def utilization(
    api: KubernetesAPI, options: DemoOptions, tempo: Tempo
) -> AsyncIterator["UtilizationScene"]:
    """The scene, for as long as the context."""
    load = _changing_load(options.nodes * GPUS_PER_NODE, tempo)
    async with Cluster(
        api,
        nodes=options.nodes,
        load=load,
        loading_seconds=tempo.loading,
        deleting_seconds=tempo.deleting,
    ) as cluster:
        cluster.scale(cluster.capacity // 2, ready=True)
        hpa = HorizontalPodAutoscaler(
            namespace=manifests.NAMESPACE,
            metrics=(utilization_metric(options.metric_type),),
            max_replicas=cluster.capacity,
            stabilization_window=tempo.stabilization,
        )
        yield UtilizationScene(options, tempo, cluster, hpa, load)


def _changing_load(gpus: int, tempo: Tempo) -> Load:
    """Return a demand that swings between a tenth and a half of the capacity of all GPUs."""
    return Load(base=gpus * 30, amplitude=gpus * 20, period=tempo.period)


def utilization_metric(kind: MetricType, target: int = TARGET_PERCENT * 1000) -> Metric:
    """Return the HPA's metric, with a target in thousandths of a percent."""
    name = "gpu_utilization"
    if kind == "pods":
        return PodsMetric(name, target)
    return ExternalMetric(name, manifests.SELECTOR, "Value", target)


class UtilizationScene(Scene):
    """A load that GPU utilization shows.

    Args:
        options: the flags.
        tempo: the durations.
        cluster: the cluster.
        hpa: the HPA.
        load: the load on the cluster.
    """

    def __init__(
        self,
        options: DemoOptions,
        tempo: Tempo,
        cluster: Cluster,
        hpa: HorizontalPodAutoscaler,
        load: Load,
    ) -> None:
        super().__init__(options, tempo, cluster, hpa)
        self._load = load

    @property
    def load_range(self) -> LoadRange:
        """From nothing to a load that keeps every GPU busy."""
        return LoadRange("GPUs", self.cluster.capacity, 0.1)

    def hold_load(self, amount: float | None) -> None:
        """Keep this many GPUs busy, or with None let the demand swing again."""
        changing = _changing_load(self.cluster.capacity, self.tempo)
        held = None if amount is None else Load(base=amount * 100, amplitude=0)
        self._load = self.cluster.load = held or changing

    async def moment(self, seconds: float, sync: Sync, _: Controller) -> UtilizationMoment:
        """Return what to show after a sync, this many seconds after the start."""
        (current,), (reading,) = sync.decision.current, sync.readings
        return UtilizationMoment(
            seconds=seconds,
            demand=self._load.demand(self.cluster.elapsed),
            utilization=None if current is None else current / 1000,
            target=self.hpa.metrics[0].target / 1000,
            ready=self.cluster.ready_pods,
            replicas=self.cluster.replicas,
            source=reading.source,
            pods=reading.pods,
            reason=sync.decision.reason,
        )

    def introduction(self, url: str, commands: Commands) -> str:
        """Return what is real and what is simulated, and commands to try."""
        options, (metric,) = self.options, self.hpa.metrics
        gpus, kind = self.cluster.capacity, options.metric_type.capitalize()
        path = metric_path(self.hpa.namespace, metric)
        return f"""\
gpu-metrics-server is serving at {url}: the real server, over real TLS.
Simulated: a Kubernetes API; {options.nodes} nodes with {gpus} GPUs and their DCGM exporters;
a Deployment under a changing load; an HPA with a target of {TARGET_PERCENT} %, which requests
the metric every {self.tempo.sync:g} s (a real one: 15 s), as a metric of type {kind}.
{self._fault()}{ending(options)}

{commands.to_try(metric.name, [path])}
"""

    def _fault(self) -> str:
        """Return what the fault is, and what it leads to."""
        options = self.options
        if options.fault is None:
            return ""
        begins, ends = fault_times(options, self.tempo)
        which = "one exporter" if options.one_exporter else "every exporter"
        effect = _EFFECTS[options.metric_type, options.one_exporter]
        when = f"From {begins:.0f} s to {ends:.0f} s"
        return f"{when}, {which} has a fault: {options.fault}.\n{effect}"

    def summary(self, syncs: Sequence[Sync]) -> str:
        """Return where the answers came from, and what the HPA did with them."""
        sources = Counter(sync.readings[0].source for sync in syncs)
        answers = ", ".join(_answers(*pair) for pair in sources.most_common())
        requested = f"The HPA requested the metric {times(len(syncs))}; answers: {answers}."
        return f"{requested}\n{scalings(syncs)}"


def _answers(source: str, count: int) -> str:
    if source == "error":
        return "1 error" if count == 1 else f"{count} errors"
    return f"{count} from {source}"
