"""Where a rule of the configuration file is read, and whether it measures GPUs or pods."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

from msgspec import structs
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from metrics_server.config.readings import ReadingConfig
from metrics_server.rules.expressions import read
from metrics_server.rules.model import Measured, MetricRule
from metrics_server.rules.templates import marked, parse, placeholders

SourceName = Literal["exporters", "pods", "prometheus"]
"""Where a metric is read: on the pages of the GPU exporters on the pods' nodes, on the pods' own
pages, or in Prometheus, which scrapes either of them. `sources.registry` builds each."""

PrometheusUse = Literal["named", "second", "only"]
"""Which rules are read from Prometheus: those that name it; also every other rule, for the pods
that its own source has no value for; or every other rule, in place of its own source."""

_NAME: Mapping[str, object] = {"enum": list(get_args(SourceName))}


def _as_list(source: object) -> object:
    return (source,) if isinstance(source, str) else source


def _sensible(sources: tuple[SourceName, ...]) -> tuple[SourceName, ...]:
    if not sources:
        raise ValueError("is an empty list: name a source, or leave it out")
    if len(set(sources)) != len(sources):
        raise ValueError(f"lists {sources[0]} twice")
    if {"exporters", "pods"} <= set(sources):
        raise ValueError(
            "exporters have the values of GPUs and pods have their own: only prometheus goes with "
            "either"
        )
    return sources


Sources = Annotated[
    tuple[SourceName, ...],
    BeforeValidator(_as_list),
    AfterValidator(_sensible),
    WithJsonSchema({"anyOf": [_NAME, {"type": "array", "items": _NAME}]}),
]
"""One source or several, in order of preference."""


def _template(query: str) -> str:
    read(marked(parse(query), "pod"))
    return query


Template = Annotated[str, AfterValidator(_template)]
"""A query in PromQL with placeholders, all of whose selectors can be found."""


def measured_by(
    sources: Sequence[SourceName], measures: Measured | None, *, is_query: bool
) -> Measured:
    """Return whether the values of a rule are those of GPUs or of pods.

    Raises:
        ValueError: `measures` contradicts the sources.
    """
    implied: Measured | None = None
    if "exporters" in sources:
        implied = "gpus"
    elif "pods" in sources or is_query:
        implied = "pods"
    if implied and measures and measures != implied and not is_query:
        raise ValueError(
            f"measures: {measures} does not go with source: {sources[0]}, which has values of "
            f"{implied}"
        )
    return measures or implied or "gpus"


def check_readings(
    readings: Sequence[ReadingConfig],
    measures: Measured,
    sources: Sequence[SourceName],
    window: int,
) -> None:
    """Check that readings suit what a rule measures.

    Raises:
        ValueError: they do not; the message has the number of the reading.
    """
    # What a user would change: the source, unless it is Prometheus anyway.
    only = "source: pods" if sources[0] != "prometheus" else "measures: pods"
    for number, one in enumerate(readings):
        where = f"readings.{number}"
        if measures == "pods" and (one.divided_by or one.each or one.unless):
            raise ValueError(f"{where}: dividedBy, each and unless are about GPUs: not with {only}")
        if measures == "gpus" and (one.copies or one.zero_beside):
            raise ValueError(f"{where}: copies and zeroBeside are only for {only}")
        if measures == "gpus" and one.is_over_time():
            raise ValueError(f"{where}: rate and quantile are only for {only}")
    check_window(readings, sources, window)


def check_window(readings: Sequence[ReadingConfig], sources: Sequence[str], window: int) -> None:
    """Check that readings over time have a window, if Prometheus is asked for them.

    Raises:
        ValueError: one has none; the message has its number.
    """
    if window or "prometheus" not in sources:
        return
    for number, one in enumerate(readings):
        if one.is_over_time():
            raise ValueError(
                f"readings.{number}: from prometheus, a rate or a quantile needs a window, at "
                "least twice as long as the interval of its scrapes, such as window: 60s"
            )


def check_query(
    query: str, sources: Sequence[SourceName], pod_label: str | None, *, has_readings: bool
) -> None:
    """Check a rule that is written in PromQL.

    Raises:
        ValueError: the rest of the rule contradicts the query.
    """
    if has_readings:
        raise ValueError("query and readings are mutually exclusive: set one of them")
    if tuple(sources) not in ((), ("prometheus",)):
        raise ValueError("query is only for source: prometheus")
    used = placeholders(parse(query))
    if pod_label is not None and not used & {"Namespace", "LabelMatchers"}:
        raise ValueError(
            "query: with podLabel, the query must select the namespace, with "
            "namespace=<<.Namespace>> or <<.LabelMatchers>>: other namespaces may have pods of the "
            "same names"
        )
    if pod_label is None and "GroupBy" in used:
        raise ValueError(
            "query: <<.GroupBy>> groups by the pod: set podLabel to the label with its name, such "
            "as podLabel: pod"
        )


def used_with(rule: MetricRule, use: PrometheusUse) -> MetricRule:
    """Return a rule that names no source, with its sources according to `prometheus.use`."""
    if use == "named" or "prometheus" in rule.sources:
        return rule
    sources = ("prometheus",) if use == "only" else (*rule.sources, "prometheus")
    return structs.replace(rule, sources=sources)
