"""Whether an HPA with minReplicas 0 can come back from 0."""

from collections.abc import Sequence

from metrics_server.advising.names import MetricNames
from metrics_server.advising.selected import relation, selected
from metrics_server.doctor.model import Check, Problem, Verdict, skipped
from metrics_server.doctor.reader import Reader, ReadHpa
from metrics_server.errors import CounterAskedError
from metrics_server.kube.autoscalers import AutoscalerMetric
from metrics_server.kube.pods import Pod


async def _run(reader: Reader) -> Verdict:
    hpa = await reader.hpa()
    if hpa is None:
        return skipped("there is no such HPA")
    names = MetricNames(await reader.rules())
    return judge(hpa, await reader.pods(reader.subject.namespace), names)


def judge(hpa: ReadHpa, pods: Sequence[Pod], names: MetricNames) -> Verdict:
    """Judge an HPA with minReplicas 0.

    Args:
        hpa: the HPA.
        pods: every pod of its namespace.
        names: the metrics of this server.
    """
    if hpa.whole.least > 0:
        return Verdict(f"minReplicas is {hpa.whole.least}: it never scales to 0")
    if any(_remains(one, hpa, pods, names) for one in hpa.checked.metrics):
        return Verdict("minReplicas is 0, and a metric remains at 0 replicas")
    name, namespace = hpa.checked.name, hpa.checked.namespace
    problem = Problem(
        "scale-to-zero",
        hpa.whole.named,
        "minReplicas is 0, and each of its metrics is about the pods that it scales: at 0 "
        "replicas there are none to measure, so it never comes back. It needs an External or "
        "Object metric about something that remains, such as a queue or a gateway",
        f"kubectl -n {namespace} patch hpa {name} --type=merge "
        '-p \'{"spec":{"minReplicas":1}}\'\n# or add such a metric',
        "docs/hpa.md#scale-to-zero",
    )
    return Verdict("it cannot come back from 0", (problem,))


def _remains(
    metric: AutoscalerMetric, hpa: ReadHpa, pods: Sequence[Pod], names: MetricNames
) -> bool:
    """Whether a metric has a value at 0 replicas: of the pods of others that it matches."""
    if metric.type == "Pods":
        return False
    try:
        rule = names.find(metric.name)
    except CounterAskedError:
        return False
    if rule is None:
        return True
    target = hpa.checked.target
    found = selected(metric.selector, pods, target)
    if metric.type == "Object" and not metric.described.startswith("Namespace/"):
        return relation(metric, found, target) == "others"
    # Whatever the value is of, there is none unless the selector matches a pod that is measured.
    if found.others or not found.own:
        return found.any
    return rule.measures == "pods" and any(
        not pod.gpus and metric.selector.matches(pod.labels) for pod in pods
    )


CHECK = Check(
    name="scale-to-zero",
    about="With minReplicas 0, can a metric bring the workload back?",
    finds=("scale-to-zero",),
    run=_run,
    scope="hpa",
)
