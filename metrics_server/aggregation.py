"""From a collection of samples to the one number: over each pod's GPUs first, then over pods."""

from collections.abc import Callable, Sequence
from statistics import fmean

from metrics_server.errors import MAX_MESSAGE, MeasurementMissingError
from metrics_server.rules import Aggregation, MetricRule
from metrics_server.samples import Answer, Collection, PodSample
from metrics_server.text import printable


def _p95(values: Sequence[float]) -> float:
    """The 95th percentile by nearest rank: the least value that 95 % are not above.

    It is always one of the values, and of fewer than 20 the greatest.
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
# How many names a sentence lists before it says how many more there are.
_NAMES_TOLD = 3


def aggregate(rule: MetricRule, collection: Collection, min_coverage: float) -> Answer:
    """The answer that a collection gives under a rule.

    A sum over pods stands for all pods that were asked about: those without a sample count as the
    mean of the others. Left out they would count as idle, and the HPA would take their replicas
    away for that.

    Args:
        rule: how GPUs and pods are aggregated.
        collection: what was measured, of at least one pod.
        min_coverage: the share of the selected pods, from 0 to 1, that must have a sample.

    Raises:
        MeasurementMissingError: no pod has a sample, or too few have.
    """
    samples = collection.samples
    if not samples or len(samples) < min_coverage * collection.asked:
        raise _missing(collection, min_coverage)
    value = _AGGREGATIONS[rule.over_pods]([pod_value(rule, sample) for sample in samples])
    if rule.over_pods == "sum":
        value *= collection.asked / len(samples)
    return Answer(
        value=value,
        decimals=rule.decimals,
        timestamp=min(sample.timestamp for sample in samples),
        origin="exporters",
        covered=len(samples),
        asked=collection.asked,
        shared=any(sample.shared for sample in samples),
        window=rule.window,
    )


def pod_value(rule: MetricRule, sample: PodSample) -> float:
    """The value of one pod under a rule."""
    return _AGGREGATIONS[rule.over_gpus](sample.gpus)


def _missing(collection: Collection, min_coverage: float) -> MeasurementMissingError:
    """Say which pods have no measurement, and why, for a person who reads `describe hpa`."""
    gaps: list[str] = []
    # The label names the gap that, once mended, tells whether there is another behind it.
    label = "no-sample"
    if collection.pods_without_sample:
        gaps.append(
            f"the exporters answered but gave no value for {_some(collection.pods_without_sample)}"
        )
        gaps.extend(collection.hints)
    if collection.failures:
        label = "exporters-failed"
        gaps.append(
            _some([f"exporter {one.target} {one.message}" for one in collection.failures], "; ")
        )
    if collection.nodes_without_exporter:
        label = "no-exporter"
        told = f"no exporter is ready on {_some(collection.nodes_without_exporter)}"
        hint = collection.no_exporter_hint
        gaps.append(
            f"{told} ({hint})"
            if hint
            else f"{told} (is one Running there, and its Service listed under exporters.services?)"
        )
    covered, asked = len(collection.samples), collection.asked
    needed = "" if not covered else f" (fallback.minCoverage asks for {min_coverage:.0%})"
    return MeasurementMissingError(
        _within(f"{covered} of {asked} pods have a measurement{needed}: ", gaps), label
    )


def _within(start: str, gaps: Sequence[str]) -> str:
    """The sentence with as many of the gaps as the HPA's event has room for, one at least."""
    message = start
    for number, gap in enumerate(gaps):
        more = f"; {gap}" if number else printable(gap, MAX_MESSAGE - len(start))
        if len(message) + len(more) > MAX_MESSAGE:
            break
        message += more
    return message


def _some(names: Sequence[str], separator: str = ", ") -> str:
    told = separator.join(names[:_NAMES_TOLD])
    more = len(names) - _NAMES_TOLD
    return told if more <= 0 else f"{told} and {more} more"
