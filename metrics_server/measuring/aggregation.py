"""From a collection of samples to one number: first over each pod's GPUs, then over pods."""

from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from math import floor
from statistics import fmean

from metrics_server.common.text import printable
from metrics_server.errors import MAX_MESSAGE, MeasurementMissingError
from metrics_server.measuring.samples import (
    Answer,
    Collection,
    Form,
    Gap,
    Measurement,
    PodSample,
    PodValue,
)
from metrics_server.rules.model import Aggregation, MetricRule

EXACT = 3
"""Decimal places of a mean that must represent the same work for any number of pods."""

# An HPA reads thousandths in 64 bits; a value over the pods that stay may be a few times as high.
_MAX_VALUE = 1e15


def _p95(values: Sequence[float]) -> float:
    """The 95th percentile by nearest rank: the lowest value that 95 % do not exceed.

    It is always one of the values; with fewer than 20, the highest.
    """
    rank = (95 * len(values) + 99) // 100
    return sorted(values)[rank - 1]


_AGGREGATIONS: dict[Aggregation, Callable[[Sequence[float]], float]] = {
    "avg": fmean,
    "max": max,
    "min": min,
    "sum": sum,
    "p95": _p95,
}


def aggregate(
    rule: MetricRule, collection: Collection, min_coverage: float, leaving: int = 0
) -> Measurement:
    """Aggregate a collection by a rule.

    A mean and a sum represent all selected pods. Drained pods count as 0: the HPA still counts them
    as Ready, and Ready x mean must equal the total work. Pods without a sample count as the mean
    of those with one: left out of a sum they would count as idle, and the HPA would remove their
    replicas. An extreme or a percentile covers only the pods with a sample.

    Args:
        rule: how GPUs and pods are aggregated.
        collection: what was measured, of at least one pod.
        min_coverage: the share of the pods that have not drained that must have a sample, from 0
            to 1.
        leaving: how many of the selected pods are terminating.

    Raises:
        MeasurementMissingError: no pod has a sample, or too few do, or their sum is too large.
    """
    samples, working = collection.samples, collection.selected - len(collection.drained)
    if not samples or len(samples) < min_coverage * working:
        raise _missing(collection, min_coverage)
    values = [pod_value(rule, sample) for sample in samples]
    value = _AGGREGATIONS[rule.over_pods](values)
    if max(value, *values) > _MAX_VALUE:
        raise MeasurementMissingError(
            f"{max(value, *values):g} is more than an HPA can read: check the pages of the pods, "
            f"and the maximum of {rule.name} and its readings",
            "no-sample",
        )
    if rule.over_pods == "sum":
        value *= working / len(samples)
    elif rule.over_pods == "avg":
        value *= working / collection.selected
    return Measurement(
        value=value,
        timestamp=min(sample.timestamp for sample in samples),
        covered=len(samples) + len(collection.drained),
        selected=collection.selected,
        samples=samples,
        leaving=leaving,
        shared=any(sample.shared for sample in samples),
        fresh_until=collection.fresh_until,
        source=collection.source,
    )


def answer_of(rule: MetricRule, measured: Measurement, form: Form = "labelled") -> Answer:
    """The answer for a measurement.

    In the form "pods", it has the value of each pod; for a mean over a window, each pod has an
    equal share of the work in it, including that of pods that are gone.

    While pods drain, the HPA multiplies a mean by more pods than will remain. The mean is then
    computed over the remaining pods, rounded as it will be once the others are gone, and spread
    over all of them, so that the HPA computes the same replicas throughout.
    """
    value, decimals = measured.value, rule.decimals
    # With a series selector, those with a matching row may all be leaving.
    if rule.over_pods == "avg" and 0 < measured.leaving < measured.selected:
        staying = measured.selected - measured.leaving
        value = spread(
            rounded(value * measured.selected / staying, decimals), staying, measured.selected
        )
        decimals = EXACT
    return Answer(
        value=value,
        decimals=decimals,
        timestamp=measured.timestamp,
        source=measured.source,
        covered=measured.covered,
        selected=measured.selected,
        shared=measured.shared,
        window=rule.window,
        pods=_pod_values(rule, measured) if form == "pods" else (),
        ceiling=ceiling(rule, measured.samples),
    )


def _pod_values(rule: MetricRule, measured: Measurement) -> tuple[PodValue, ...]:
    is_mean = rule.window and not rule.is_over_time
    return tuple(
        [
            PodValue(one.pod, measured.value if is_mean else pod_value(rule, one), one.timestamp)
            for one in measured.samples
        ]
    )


def rounded(value: float, decimals: int) -> float:
    """A value as reported: rounded half up, from the shortest decimal that represents it."""
    return float(Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


def spread(mean: float, over: int, pods: int) -> float:
    """The mean over `pods` pods of the work behind a mean over `over` pods.

    Rounded down to thousandths, which the HPA reads: if pods x mean exceeded the work by the
    slightest amount, the HPA might add a replica.
    """
    thousandths = mean * over / pods * 1000
    # A whole number that floating point makes slightly too low must not lose a thousandth.
    return floor(thousandths + 1e-6) / 1000


def pod_value(rule: MetricRule, sample: PodSample) -> float:
    """The value of one pod under a rule."""
    return _AGGREGATIONS[rule.over_gpus](sample.gpus)


def ceiling(rule: MetricRule, samples: Sequence[PodSample]) -> float:
    """The highest value that any of these pods can have under a rule.

    The work of many pods, as a mean over a few that are left, must not say more of them than that.
    A sum over a pod's GPUs can be as many times the maximum of one as the pod has; of the rows on a
    pod's page there may be any number, so their sum has no bound but what an HPA can read.
    """
    if rule.measures == "pods" and rule.query is None:
        # A quantile is one, whatever rows it comes from.
        if rule.over_series == "sum" and all(one.quantile is None for one in rule.readings):
            return _MAX_VALUE
        return max([reading.maximum * reading.scale for reading in rule.readings])
    if rule.over_gpus == "sum":
        return rule.maximum * max([len(sample.gpus) for sample in samples], default=1)
    return rule.maximum


def _missing(collection: Collection, min_coverage: float) -> MeasurementMissingError:
    """Which pods have no measurement and why, for `kubectl describe hpa`."""
    covered = len(collection.samples)
    selected = collection.selected - len(collection.drained)
    needed = "" if not covered else f" (fallback.minCoverage requires {min_coverage:.0%})"
    return MeasurementMissingError(
        _within(f"{covered} of {selected} pods have a measurement{needed}: ", collection.gaps),
        collection.gaps[0].reason if collection.gaps else "no-sample",
    )


def _within(start: str, gaps: Sequence[Gap]) -> str:
    """The sentence with as many gaps as the HPA's event has room for, and at least one."""
    message = start
    for number, gap in enumerate(gaps):
        more = f"; {gap.text}" if number else printable(gap.text, MAX_MESSAGE - len(start))
        if len(message) + len(more) > MAX_MESSAGE:
            break
        message += more
    return message
