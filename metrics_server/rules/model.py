"""A rule: which families a metric is read from, on whose pages, and how it is aggregated."""

import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct, structs

from metrics_server.rules.expressions import Expression, read
from metrics_server.rules.series import SeriesSelector
from metrics_server.rules.templates import marked, placeholders

Aggregation = Literal["avg", "max", "min", "sum", "p95"]
TargetType = Literal["Value", "AverageValue"]
Measured = Literal["gpus", "pods"]
"""What a value measures: each GPU of a pod, or the pod itself."""


class Reading(Struct, frozen=True, cache_hash=True):
    """One way to read a metric: a family on the pages of one kind of exporter.

    Attributes:
        family: the name on the page, such as DCGM_FI_DEV_GPU_UTIL.
        minimum: the lowest value on the page that is accepted, before scaling.
        maximum: the highest value on the page that is accepted. A value outside is missing, never
            clipped: DCGM's sentinels are huge, and smaller garbage has been seen too. The minimum
            and maximum of a rate or a quantile are not of the page's values, but of the result.
        scale: the factor that converts an accepted value to the rule's unit.
        divided_by: families whose sum, for the same GPU and pod, divides the value: the share of
            memory in use is used / (used + free). Each must be within the same minimum and maximum;
            if the sum is 0, the value is missing.
        where: further labels that a row must have, and their exact values.
        each: labels that number the parts of a GPU; their mean is the GPU's value.
        unless: a reading that contradicts a value of 0: if it has a value for the same GPU and pod,
            the 0 is rejected.
        beside: families of which the page must have one too, to identify the exporter's release if
            a name does not mean the same in all of them.
        copies: labels that number copies of one series, which have the same value or an outdated
            lower one: the highest counts. Only for pods' own pages.
        zero_beside: families that a page has from its start, while this one appears with the first
            request: beside one of them, no row means 0. Only for pods' own pages.
        rate: whether the family is a counter, of which the increase per second over the rule's
            window counts. Only for pods' own pages.
        quantile: which quantile counts of what a histogram observed within the rule's window,
            between 0 and 1; None if the family is not a histogram. Only for pods' own pages.
    """

    family: str
    minimum: float
    maximum: float
    scale: float = 1
    divided_by: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    each: tuple[str, ...] = ()
    unless: "Reading | None" = None
    beside: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    zero_beside: tuple[str, ...] = ()
    rate: bool = False
    quantile: float | None = None

    @property
    def rows(self) -> str:
        """The name of its rows on the page: of a histogram, its buckets."""
        return self.family if self.quantile is None else f"{self.family}_bucket"

    @property
    def is_over_time(self) -> bool:
        """Whether its value comes from several scrapes."""
        return self.rate or self.quantile is not None


class Endpoint(Struct, frozen=True):
    """Where pods serve their own page.

    Attributes:
        port: the number or the name of a container's port; None finds it by convention.
        path: the path; None finds it by convention.
        scheme: "http" or "https"; None finds it by convention.
        ports: several ports, each of which has a page; empty for one.
    """

    port: int | str | None = None
    path: str | None = None
    scheme: Literal["http", "https"] | None = None
    ports: tuple[int | str, ...] = ()


# Needed for each look-up.
_read_once = lru_cache(maxsize=256)(read)


class Query(Struct, frozen=True):
    """A query in PromQL, with placeholders for the pods that a question selects.

    Attributes:
        parts: the query as text and placeholders in turn, as in `rules.templates`.
        pod_label: the label that names the pod of each value; None if there is one value, of all
            selected pods together.
        is_total: whether that one value is a total, of which each pod has an equal share; otherwise
            each pod has the value. However the pods are aggregated for a question, this is the
            same.
    """

    parts: tuple[str, ...]
    pod_label: str | None = None
    is_total: bool = False

    @property
    def text(self) -> str:
        """The query as it is in the configuration."""
        return "".join(
            f"<<.{part}>>" if number % 2 else part for number, part in enumerate(self.parts)
        )

    @property
    def marked(self) -> str:
        """The query with a mark in place of each value that depends on the pods.

        `rules.templates.filled` has the values.
        """
        return marked(self.parts, self.pod_label or "pod")

    @property
    def expression(self) -> Expression:
        """What it reads, with the same marks, so that long names of pods need not be read.

        Raises:
            ValueError: as for `rules.expressions.read`, which the configuration rejects.
        """
        return _read_once(self.marked)

    @property
    def names_pods(self) -> bool:
        """Whether the names of pods are in it, and not only their namespace."""
        return not placeholders(self.parts).isdisjoint({"Pods", "LabelMatchers"})

    @property
    def can_be_split(self) -> bool:
        """Whether it names pods, and has the same values for some at a time as for all at once."""
        label = self.pod_label
        if label is None or not self.names_pods:
            return False
        names_others = any(
            part == "Pods" and not re.search(rf"\b{label}\s*=~\s*$", before)
            for before, part in zip(self.parts[::2], self.parts[1::2], strict=False)
        )
        return not names_others and self.expression.keeps_apart(label)

    @property
    def is_of_pods(self) -> bool:
        """Whether its value depends on which pods a question selects."""
        return self.names_pods or self.pod_label is not None


class MetricRule(Struct, frozen=True):
    """A metric: where it is read from and how it is aggregated.

    Attributes:
        name: the name that an HPA asks for, in lower case, as client-go sends it.
        help: a one-line description.
        unit: the unit of the result.
        readings: the ways to read it, in order of preference; each GPU uses the first that has a
            value for it.
        maximum: the highest value that one GPU can have, in the rule's unit; an accepted value a
            little above it, as a profiling ratio may be, counts as this.
        over_gpus: how the values of a pod's GPUs are aggregated.
        over_pods: how the values of the pods are aggregated.
        decimals: how many decimal places the result has, from 0 to 3.
        window: over how many seconds a pod's scraped values are averaged, or a rate or a quantile
            is taken; 0 uses the current value, or what happened since the last scrape.
        measures: what its values measure: a pod's GPUs, or the pod.
        sources: where it is read, in order of preference: each pod by the first that has a value;
            names as in the configuration (`SourceName`).
        query: the query of a rule that is written in PromQL, which has no readings.
        over_series: how the rows of a pod's own page are aggregated, as one pod may run several
            engines or serve several models.
        endpoint: where a pod's own page is.
        series: which rows count, as a question selects them; in the catalogue, all.
    """

    name: str
    help: str
    unit: str
    readings: tuple[Reading, ...]
    maximum: float
    over_gpus: Aggregation = "avg"
    over_pods: Aggregation = "avg"
    decimals: int = 0
    window: int = 0
    measures: Measured = "gpus"
    sources: tuple[str, ...] = ("exporters",)
    query: "Query | None" = None
    over_series: Aggregation = "sum"
    endpoint: Endpoint = Endpoint()
    series: SeriesSelector = SeriesSelector()

    @property
    def target(self) -> TargetType:
        """The target type that an HPA must use.

        For Value the HPA multiplies by its count of ready pods, for AverageValue it does not: a
        mean under AverageValue would shrink the workload, and a sum under Value would grow it.
        """
        return "AverageValue" if self.over_pods == "sum" else "Value"

    @property
    def is_over_time(self) -> bool:
        """Whether a pod's value is already over the window, and must not be averaged over it."""
        return any(reading.is_over_time for reading in self.readings)

    @property
    def is_of_pods(self) -> bool:
        """Whether a value depends on which pods are selected: not that of every query."""
        return self.query is None or self.query.is_of_pods

    @property
    def has_sum(self) -> bool:
        """Whether a sum over pods means something: not that of quantiles."""
        if self.query is not None and self.query.expression.has_quantiles:
            return False
        return self.over_pods == "avg" and all(one.quantile is None for one in self.readings)


def sum_of(rule: MetricRule) -> MetricRule:
    """Return the metric NAME_sum of a mean, for HPAs with an AverageValue target."""
    return structs.replace(
        rule, name=f"{rule.name}_sum", help=f"{rule.help}: the sum over pods", over_pods="sum"
    )
