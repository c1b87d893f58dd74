"""Whether each Ready pod with a GPU has a sample on its node's page."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from metrics_server.common.text import named
from metrics_server.doctor.checks.pod_labels import is_nameless
from metrics_server.doctor.model import Check, Problem, Verdict, objects, skipped
from metrics_server.doctor.pages import pages_in
from metrics_server.doctor.reader import Reader
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Collection
from metrics_server.sources.exporters.source import ExporterSource

_METRIC = "gpu_utilization"


async def _run(reader: Reader) -> Verdict:
    rule = (await reader.rules()).find(_METRIC)
    if "exporters" not in rule.sources:
        return skipped(f"{_METRIC} is not read from exporters")
    found = await reader.found()
    pages, _ = pages_in(await reader.pages())
    # The others are reported by their own checks.
    nodes = {
        found.exporters[url].endpoint.node
        for url, page in pages
        if page.inventory().pods and not is_nameless(page)
    }
    pods = await reader.pods(reader.subject.namespace)
    source = ExporterSource(found.targets, await reader.page_reader())
    by_namespace: dict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        if is_examined(pod) and pod.node in nodes:
            by_namespace[pod.namespace].append(pod)
    collections = {
        namespace: (ours, await source.collect(rule, ours))
        for namespace, ours in by_namespace.items()
    }
    return judge(collections)


def is_examined(pod: Pod) -> bool:
    """Whether a pod should have a sample."""
    return bool(pod.gpus) and pod.ready and pod.phase == "Running" and not pod.terminating


def judge(collections: Mapping[str, tuple[Sequence[Pod], Collection]]) -> Verdict:
    """Judge which pods have no sample.

    Args:
        collections: the pods of each namespace, and what was measured of them.
    """
    total = sum(len(pods) for pods, _ in collections.values())
    if not total:
        return skipped("no Ready pod with a GPU is on a node whose page was read")
    problems: list[Problem] = []
    for namespace, (pods, collection) in collections.items():
        covered = {sample.pod for sample in collection.samples}
        without = [pod.name for pod in pods if pod.name not in covered]
        if without:
            problems.append(
                Problem(
                    "no-sample",
                    named("pod", [f"{namespace}/{name}" for name in without]),
                    "; ".join(gap.text for gap in collection.gaps)
                    or f"the exporters gave no value of {_METRIC}",
                    f"kubectl -n {namespace} get pod {without[0]} -o wide\n"
                    f"gpu-metrics-server doctor -n {namespace} -l SELECTOR",
                    "docs/troubleshooting.md#no-sample",
                    objects("node", {pod.node for pod in pods if pod.name not in covered}),
                    quoted=tuple(gap.text for gap in collection.gaps),
                )
            )
    return Verdict(
        f"{total - sum(len(p) - len(c.samples) for p, c in collections.values())} of {total} "
        "Ready pods with GPUs have a sample",
        tuple(problems),
    )


CHECK = Check(
    name="no-sample",
    about="Does each Ready pod with a GPU have a sample on its node's page?",
    finds=("no-sample",),
    run=_run,
)
