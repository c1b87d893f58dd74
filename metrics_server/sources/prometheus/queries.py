"""Rules that are written in PromQL."""

from collections.abc import Iterator, Sequence
from math import isfinite

from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import PodSample
from metrics_server.rules.model import MetricRule, Query
from metrics_server.sources.prometheus.client import Series
from metrics_server.sources.prometheus.moment import Moment
from metrics_server.sources.prometheus.promql import alternatives, equal, one_of, quoted
from metrics_server.sources.prometheus.selectors import EXPORTED, PODS, portions

# Of the names of pods, in a query that cannot be split.
_MAX_NAMES_BYTES = 128 * 1024
_MAX_SHOWN = 60
# The label with the namespace that goes with the label of a pod.
_NAMESPACE_LABELS = {
    **{name: of for of, name in PODS},
    **{f"{EXPORTED}{name}": f"{EXPORTED}{of}" for of, name in PODS},
}


class Result(Struct, frozen=True):
    """What the queries of a rule returned.

    Attributes:
        values: the value of each pod, by name; or why it has none.
        common: the value of all selected pods together, or why there is none; None if each pod has
            its own.
        at: when it was evaluated, by the monotonic clock.
    """

    values: dict[str, float | str]
    common: float | str | None = None
    at: float = 0


async def result_of(
    moment: Moment, rule: MetricRule, query: Query, pods: Sequence[Pod], max_age: float
) -> Result:
    """Return the values of some pods, all of one namespace, by a rule's query.

    The age of the samples that a query reads cannot be seen in its result. So Prometheus is asked
    not to look back further than `max_age`; a function over a range looks back as far as it says.

    Args:
        moment: when.
        rule: the rule.
        query: its query.
        pods: the pods, at least one.
        max_age: how old a sample may be, in seconds.

    Raises:
        QueryError: a query failed.
    """
    names = [pod.name for pod in pods]
    if query.pod_label is None:
        if sum(map(len, names)) > _MAX_NAMES_BYTES:
            return Result({}, f"the names of {len(names)} pods are too long for one query")
        text = rendered(query, pods[0].namespace, names)
        found = await moment.query(text, lookback=max_age)
        return Result({}, _only(rule, found), moment.began)
    values: dict[str, float | str] = {}
    for some in portions(names):
        text = rendered(query, pods[0].namespace, some)
        for one in await moment.query(text, lookback=max_age):
            name = one.labels.get(query.pod_label, "")
            if name in values:
                values[name] = (
                    f"the query has several values with {query.pod_label}="
                    f'"{printable(name, _MAX_SHOWN)}": aggregate them, such as with '
                    f"sum by ({query.pod_label}) (…)"
                )
            else:
                values[name] = _checked(rule, one.value)
    return Result(values, None, moment.began)


def rendered(query: Query, namespace: str, pods: Sequence[str]) -> str:
    """Return a query with the values of its placeholders; whatever these are, it means the same."""
    label = query.pod_label or "pod"
    of = _NAMESPACE_LABELS.get(label, "namespace")
    values = {
        "Namespace": quoted(namespace),
        "Pods": quoted(alternatives(pods)),
        "LabelMatchers": f"{equal(of, namespace)},{one_of(label, pods)}",
        "GroupBy": label,
    }
    return "".join(values[part] if number % 2 else part for number, part in enumerate(query.parts))


def samples_of(
    rule: MetricRule, result: Result, pods: Sequence[Pod]
) -> Iterator[tuple[Pod, PodSample | str]]:
    """Return the sample of each pod, or why it has none.

    The value of all pods together is spread over them, so that the rule's aggregation gives it
    again: a sum in equal shares, anything else as it is.
    """
    for pod in pods:
        value = result.common
        if value is None:
            value = result.values.get(pod.name, "the query has no value for it")
        elif not isinstance(value, str) and rule.over_pods == "sum":
            value /= len(pods)
        if isinstance(value, str):
            yield pod, value
        else:
            yield pod, PodSample(pod.name, (value,), result.at)


def _only(rule: MetricRule, found: Sequence[Series]) -> float | str:
    if not found:
        return "the query has no value: no series matches it now"
    if len(found) > 1:
        return (
            f"the query has {len(found)} values, not one: aggregate them, such as with sum(…), or "
            "set the rule's podLabel to the label with the pod's name"
        )
    return _checked(rule, found[0].value)


def _checked(rule: MetricRule, value: float) -> float | str:
    if not isfinite(value) or not 0 <= value <= rule.maximum:
        return f"the query has a value that is out of range: {value:g}"
    return value
