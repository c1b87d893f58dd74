"""The checks: an HPA and the pods of its namespace in, what is wrong with it out.

They know nothing else about the cluster, so anything that has an HPA can use them.
"""

from collections.abc import Iterator, Sequence

from metrics_server.advising.findings import Finding, Reason, Setup
from metrics_server.advising.selected import Selected, is_narrowed, relation, selected
from metrics_server.advising.targets import about, target_findings
from metrics_server.common.advice import series_labels
from metrics_server.common.text import noun_is, printable
from metrics_server.errors import CounterAskedError
from metrics_server.kube.autoscalers import Autoscaler, AutoscalerMetric
from metrics_server.kube.pods import Pod
from metrics_server.rules.model import MetricRule

_POSITIVE = ("=", "in", "exists")
_MAX_SELECTOR = 120
_MAX_OTHERS = 2


def check(hpa: Autoscaler, pods: Sequence[Pod], setup: Setup) -> tuple[Finding, ...]:
    """Return what is wrong with an HPA.

    An HPA that works has no findings. Metrics that are not ours have none either.

    Args:
        hpa: the HPA, with the metrics that may be ours.
        pods: every pod of its namespace.
        setup: the configuration of the server.
    """
    found = (
        finding
        for metric in hpa.metrics
        if metric.type in setup.types
        for finding in _of_metric(hpa, metric, pods, setup)
    )
    return tuple(dict.fromkeys(found))


def _of_metric(
    hpa: Autoscaler, metric: AutoscalerMetric, pods: Sequence[Pod], setup: Setup
) -> Iterator[Finding]:
    try:
        rule = setup.names.find(metric.name)
    except CounterAskedError as error:
        if not metric.read:
            yield Finding("MetricIsCounter", about(metric), f"{metric.type} metric {error}.")
        return
    if rule is None:
        # Whatever the HPA can read works: another server has a metric of that name.
        if not metric.read and (near := setup.names.nearest(metric.name)):
            yield _unknown(metric, near)
        return
    matched = selected(metric.selector, pods, hpa.target)
    if metric.type != "Pods":
        whose = relation(metric, matched, hpa.target)
        yield from target_findings(hpa, metric, rule, setup, whose)
    yield from _of_selector(hpa, metric, matched, pods, setup, rule=rule)


def _unknown(metric: AutoscalerMetric, near: Sequence[str]) -> Finding:
    return Finding(
        "MetricNameUnknown",
        about(metric),
        f"{about(metric)}: there is no metric of that name, so the HPA gets an error instead of a "
        f"number, and does not scale on it. The nearest {noun_is('name', len(near))} "
        f"{', '.join(near)}; gpu-metrics-server rules lists all.",
    )


def _of_selector(
    hpa: Autoscaler,
    metric: AutoscalerMetric,
    matched: Selected,
    pods: Sequence[Pod],
    setup: Setup,
    *,
    rule: MetricRule,
) -> Iterator[Finding]:
    requirements = metric.selector.requirements
    if not matched.any:
        # Without replicas, or where no pods are known at all, no selector matches any.
        if requirements and pods and hpa.current_replicas > 0:
            yield _of_no_pods(hpa, metric)
    elif metric.type == "Pods":
        if requirements and is_narrowed(matched, hpa.target):
            yield _finding(
                metric,
                "SelectorOfPodsMetric",
                f"has a selector of its own, {_shown(metric)}. The HPA already asks for the pods "
                f"of {_named(hpa.target)} alone; any that this selector leaves out count as pods "
                "without a measurement, which holds back scaling in both directions. Remove "
                "pods.metric.selector",
            )
    elif metric.series or not rule.is_of_pods:
        # Which of these pods have such rows is not known here, or the value is of none of them.
        return
    elif metric.type == "External" and matched.own and (others := [*filter(None, matched.others)]):
        yield _of_other_workloads(hpa, metric, others, setup)


def _of_no_pods(hpa: Autoscaler, metric: AutoscalerMetric) -> Finding:
    keys = [one.key for one in metric.selector.requirements if one.operator in _POSITIVE]
    hint = series_labels(keys)
    namespace = printable(hpa.namespace)
    reason: Reason = "SelectorOfSeriesLabels" if hint else "SelectorMatchesNoPods"
    return _finding(
        metric,
        reason,
        f"selects {_shown(metric)}, which matches no pods in namespace {namespace}, so the HPA "
        "gets an error instead of a number, and does not scale on it"
        + (
            hint
            or ". Compare the selector with the labels of the pods: kubectl get pods -n "
            f"{namespace} --show-labels"
        ),
    )


def _of_other_workloads(
    hpa: Autoscaler, metric: AutoscalerMetric, others: Sequence[str], setup: Setup
) -> Finding:
    own = _named(hpa.target)
    # Jobs come and go under new names, and each would be another warning.
    names = [*dict.fromkeys("Jobs" if one.startswith("Job/") else _named(one) for one in others)]
    listed = ", ".join(names[:_MAX_OTHERS])
    more = " and others" if len(names) > _MAX_OTHERS else ""
    selects = f"selects {_shown(metric)}" if metric.selector.requirements else "has no selector"
    pods_metric = ", or use a metric of type: Pods" if "Pods" in setup.types else ""
    return _finding(
        metric,
        "SelectorMatchesOtherWorkloads",
        f"{selects}, so it covers the GPU pods of {own}, which this HPA scales, and those of "
        f"{listed}{more} too. Their load then changes the replicas of {own}. Select by labels that "
        f"only the pods of {own} have{pods_metric}",
    )


def _shown(metric: AutoscalerMetric) -> str:
    return f'"{printable(str(metric.selector), _MAX_SELECTOR)}"'


def _named(workload: str) -> str:
    return printable(workload.replace("/", " ", 1), 80)


def _finding(metric: AutoscalerMetric, reason: Reason, text: str) -> Finding:
    return Finding(reason, about(metric), f"{about(metric)} {text}.", passing=True)
