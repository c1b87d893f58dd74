"""What the demo says before and after its table."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from metrics_server.api.types import GROUP
from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.hpa import HorizontalPodAutoscaler
from metrics_server.simulator.cluster import GPUS_PER_NODE
from metrics_server.simulator.controller import Sync, metric_path
from metrics_server.simulator.demo.options import (
    TARGET_PERCENT,
    DemoOptions,
    MetricType,
    Tempo,
    fault_times,
)

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
"""What a fault leads to: by the metric's type, and whether one exporter has it among others."""


def introduction(
    options: DemoOptions, tempo: Tempo, url: str, kubeconfig: Path, hpa: HorizontalPodAutoscaler
) -> str:
    """Return what is real and what is simulated, and commands to try.

    Args:
        options: the flags.
        tempo: the durations.
        url: the server's.
        kubeconfig: the file for kubectl.
        hpa: the HPA.
    """
    gpus = options.nodes * GPUS_PER_NODE
    kind = options.metric_type.capitalize()
    ends_by_itself = f"after {options.duration:g} s or " if options.duration is not None else ""
    fault = _fault(options, tempo)
    kubectl = f"kubectl --kubeconfig {kubeconfig}"
    # kubectl encodes the star as the HPA does.
    path = metric_path(hpa.namespace, hpa.metrics[0]).replace("%2A", "*")
    return f"""\
gpu-metrics-server is serving at {url}: the real server, over real TLS.
Simulated: a Kubernetes API; {options.nodes} nodes with {gpus} GPUs and their DCGM exporters;
a Deployment under a changing load; an HPA with a target of {TARGET_PERCENT} %, which requests
the metric every {tempo.sync:g} s (a real one: 15 s), as a metric of type {kind}.
{fault}The demo ends {ends_by_itself}on Ctrl-C. Meanwhile, try from another terminal:

  {kubectl} get --raw '{path}'
  {kubectl} get gpu_utilization.{GROUP} -n {hpa.namespace}
  {kubectl} get hpa {manifests.APP} --watch
  {kubectl} describe hpa {manifests.APP}
  {kubectl} get pods --watch
"""


def _fault(options: DemoOptions, tempo: Tempo) -> str:
    """Return what the fault is, and what it leads to."""
    if options.fault is None:
        return ""
    begins, ends = fault_times(options, tempo)
    which = "one exporter" if options.one_exporter else "every exporter"
    effect = _EFFECTS[options.metric_type, options.one_exporter]
    return f"From {begins:.0f} s to {ends:.0f} s, {which} has a fault: {options.fault}.\n{effect}"


def summary(syncs: Sequence[Sync]) -> str:
    """Return where the answers came from, and what the HPA made of them."""
    if not syncs:
        return "\nThe demo ended before the HPA's first request."
    sources = Counter(sync.readings[0].source for sync in syncs)
    replicas = [syncs[0].replicas, *(sync.decision.replicas for sync in syncs)]
    scalings = sum(a != b for a, b in pairwise(replicas))
    answers = ", ".join(_answers(*pair) for pair in sources.most_common())
    return (
        f"\nThe HPA requested the metric {_times(len(syncs))}; answers: {answers}.\n"
        f"It scaled {_times(scalings)}, between {min(replicas)} and {max(replicas)} replicas."
    )


def _answers(source: str, count: int) -> str:
    if source == "error":
        return "1 error" if count == 1 else f"{count} errors"
    return f"{count} from {source}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
