"""Rules that are written in PromQL."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import PodSample
from metrics_server.rules.model import MetricRule, Query
from metrics_server.rules.templates import filled, placeholders
from metrics_server.sources.prometheus.client import Series
from metrics_server.sources.prometheus.expressions import Times, query_of_times
from metrics_server.sources.prometheus.moment import Moment
from metrics_server.sources.prometheus.promql import alternatives, equal, one_of, quoted
from metrics_server.sources.prometheus.selectors import EXPORTED, PODS, portions
from metrics_server.sources.turns import Turns

# Bytes of the names of pods in a query that cannot be split.
_MAX_NAMES_BYTES = 128 * 1024
_MAX_SHOWN = 60
# The label with the namespace that goes with the label of a pod.
_NAMESPACE_LABELS = {
    **{name: of for of, name in PODS},
    **{f"{EXPORTED}{name}": f"{EXPORTED}{of}" for of, name in PODS},
}


class Value(Struct, frozen=True):
    """A value that a query returned.

    Attributes:
        value: the value.
        time: when the oldest of the samples that it comes from was read, by the monotonic clock; of
            a range, its newest.
        scraped: the same of the pod's own samples alone, if it has any, by Prometheus's clock.
    """

    value: float
    time: float
    scraped: float


class Result(Struct, frozen=True):
    """The results of a rule's queries.

    Attributes:
        values: the value of each pod, by name; or why it has none.
        common: the value of all selected pods together, or why there is none; None if each pod has
            its own.
    """

    values: Mapping[str, Value | str]
    common: Value | str | None = None


async def result_of(
    moment: Moment, rule: MetricRule, query: Query, pods: Sequence[Pod], max_age: float
) -> Result:
    """Return the values of some pods, all of one namespace, by a rule's query.

    A result does not show how old the samples are that it comes from, so first the times of those
    that the query's selectors find are queried: without any, there is no value.

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
    label, is_split = query.pod_label, query.can_be_split
    if query.names_pods and not is_split and sum(map(len, names)) > _MAX_NAMES_BYTES:
        if label is None:
            return Result({}, f"the names of {len(names)} pods are too long for one query")
        return Result(
            {},
            f"the names of {len(names)} pods are too long for one query, and the value of one may "
            "depend on the others",
        )
    values: dict[str, Value | str] = {}
    turns = Turns()
    for some in portions(names) if is_split else [names]:
        found, times = await _queried(moment, query, placed(query, pods[0].namespace, some))
        if label is None:
            return Result({}, _fresh(moment, _only(rule, found), times, "", max_age))
        for name, value in (await _by_pod(rule, label, found, frozenset(some))).items():
            await turns.next()
            values[name] = _fresh(moment, value, times, name, max_age)
    return Result(values)


async def _by_pod(
    rule: MetricRule, label: str, found: Sequence[Series], names: frozenset[str]
) -> Mapping[str, float | str]:
    """Return the value of each of some pods; or why it does not count."""
    values: dict[str, float | str] = {}
    turns = Turns()
    for one in found:
        await turns.next()
        name = one.labels.get(label, "")
        if name in values:
            values[name] = (
                f'the query has several values with {label}="{printable(name, _MAX_SHOWN)}": '
                f"aggregate them, such as with sum by ({label}) (…)"
            )
        elif name in names:
            values[name] = _checked(rule, one.value)
    return values


async def _queried(
    moment: Moment, query: Query, values: Mapping[str, str]
) -> tuple[Sequence[Series], Times]:
    """Return the result of a query, and the times of the samples that it reads.

    The times are queried first: a sample that arrives in between is not taken for the older one
    that the result comes from.
    """
    label, expression = query.pod_label, query.expression
    found = await moment.query(filled(query_of_times(expression, label), values))
    times = Times(expression, label, found)
    return (await moment.query(filled(query.marked, values)) if found else ()), times


def _fresh(
    moment: Moment, value: float | str, times: Times, name: str, max_age: float
) -> Value | str:
    """Return a value with its time; or the reason why it or its samples do not count."""
    if isinstance(value, str):
        return value
    oldest = times.oldest(name)
    if oldest is None:
        return "the query has a value, but none of its selectors finds a current sample for it"
    if not oldest:
        return "the query reads a range of series that have ended: they have no current sample"
    age = moment.age(oldest)
    if age > max_age:
        return (
            f"the query reads samples that are {age:.0f} s old, and prometheus.maxAge is "
            f"{max_age:g} s"
        )
    return Value(value, moment.monotonic(oldest), times.own(name) or oldest)


def placed(query: Query, namespace: str, pods: Sequence[str]) -> Mapping[str, str]:
    """Return the values of a query's placeholders, which cannot change its meaning."""
    label = query.pod_label or "pod"
    of = _NAMESPACE_LABELS.get(label, "namespace")
    used = placeholders(query.parts)
    values = {"Namespace": quoted(namespace)}
    # Those of thousands of pods take a while.
    if "Pods" in used:
        values["Pods"] = quoted(alternatives(pods))
    if "LabelMatchers" in used:
        values["LabelMatchers"] = f"{equal(of, namespace)},{one_of(label, pods)}"
    return values


def samples_of(
    rule: MetricRule, result: Result, pods: Sequence[Pod]
) -> Iterator[tuple[Pod, PodSample | str]]:
    """Return the sample of each pod, or why it has none.

    The value of all pods together is spread over them: a total in equal shares, so that their sum
    is the total and their mean that of each pod; anything else as it is.
    """
    is_total = result.common is not None and rule.query is not None and rule.query.is_total
    for pod in pods:
        found = result.common
        if found is None:
            found = result.values.get(pod.name, "the query has no value for it")
        if isinstance(found, str):
            yield pod, found
            continue
        # A value of all pods together may be older than the youngest of them.
        if result.common is None and found.scraped < pod.created:
            yield pod, "the query reads samples from before the pod was created"
            continue
        value = found.value / len(pods) if is_total else found.value
        yield pod, PodSample(pod.name, (value,), found.time)


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
