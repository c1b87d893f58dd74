"""Why pages that answered have no value for a pod, for a person who reads `describe hpa`."""

from collections.abc import Iterable, Iterator, Sequence

from metrics_server.exporters.pod_mapper import Attribution
from metrics_server.exporters.scraper import Page
from metrics_server.kube.pods import Pod
from metrics_server.rules import MetricRule
from metrics_server.text import printable

# Of how many pods it is looked for a reason of their own: a sentence names but a few.
_EXPLAINED = 20
_NAMES_TOLD = 3
_LONGEST_NAME = 63


def hints(rule: MetricRule, pods: Sequence[Pod], pages: Iterable[Page]) -> Iterator[str]:
    """What the pages of the pods' nodes tell, each a clause.

    Args:
        rule: what was asked for.
        pods: those without a sample, whose exporters all answered; of one namespace.
        pages: of their nodes.
    """
    answered = [(page, page.attribution(rule.readings)) for page in pages]
    if any(not page.body for page, _ in answered):
        yield "a page was empty, as it is until a new exporter's first interval has passed"
    if any(page.body and _is_silent(attribution) for page, attribution in answered):
        yield (
            f"a page has no row of a GPU in any family that {rule.name} is read from, such as "
            f"{rule.readings[0].family}: the exporter's list of metrics must have one"
        )
    attributions = [attribution for _, attribution in answered]
    if any(one.unattributed and not one.names_pods for one in attributions):
        yield (
            "the page names no pods at all: the exporter needs DCGM_EXPORTER_KUBERNETES=true and "
            "the kubelet's pod-resources socket"
        )
    if rejected := sum(one.rejected for one in attributions):
        yield f"values out of range, which are not believed: {rejected}"
    if conflicting := sum(one.conflicting for one in attributions):
        yield f"GPUs with two different values, which are not believed: {conflicting}"
    if ambiguous := sum(one.ambiguous for one in attributions):
        yield (
            f"{ambiguous} rows have one label twice, as dcgm-exporter 4.0 to 4.8.2 writes them for "
            "a pod that has a label called as one of the exporter's own: rename that, or upgrade"
        )
    yield from _of_pods(pods, attributions)


def _of_pods(pods: Sequence[Pod], attributions: Sequence[Attribution]) -> Iterator[str]:
    """What they tell of single pods: of the first of each kind, lest it be said a hundred times."""
    partly = other_node = False
    for pod in pods[:_EXPLAINED]:
        name = (pod.namespace, pod.name)
        having = [one for one in attributions if name in one.by_pod]
        missing = {gpu for one in having for gpu in one.incomplete.get(name, ())}
        known = {gpu for one in having for gpu in one.by_pod[name]}
        hosts = {host for one in having for host in one.hosts}
        if missing - known:
            if not partly:
                yield (
                    f"pod {pod.name} has values for {len(known)} of its {len(known | missing)} "
                    "GPUs, and the mean of some is not the pod's"
                )
            partly = True
        elif len(having) > 1 or hosts - {pod.node}:
            if not other_node:
                yield (
                    f"pod {pod.name} runs on node {pod.node}, and is named by {len(having)} "
                    f"exporters: of {_named(hosts) or 'nodes that they do not tell'}"
                )
            other_node = True
    yield from _elsewhere(pods[:_EXPLAINED], attributions)


def _elsewhere(pods: Sequence[Pod], attributions: Sequence[Attribution]) -> Iterator[str]:
    """The first pod that pages name in another namespace only."""
    namespaces: dict[str, set[str]] = {pod.name: set() for pod in pods}
    for one in attributions:
        for namespace, name in (*one.by_pod, *one.incomplete):
            if name in namespaces:
                namespaces[name].add(namespace)
    for pod in pods:
        found = namespaces[pod.name]
        if found and pod.namespace not in found:
            yield (
                f"a pod {pod.name} is named, but in namespace {_named(found)}, "
                f"not in {pod.namespace}"
            )
            return


def _named(names: Iterable[str]) -> str:
    """The first of the names that pages have, which are as long as a Kubernetes name at most."""
    return ", ".join(printable(name, _LONGEST_NAME) for name in sorted(names)[:_NAMES_TOLD])


def _is_silent(attribution: Attribution) -> bool:
    return not (attribution.unattributed or attribution.ambiguous or attribution.names_pods)
