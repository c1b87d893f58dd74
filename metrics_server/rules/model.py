"""What a rule is: which exporter families a metric is read from, and how it is aggregated."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct, structs

from metrics_server.common.advice import unknown_metric
from metrics_server.errors import (
    ConfigurationError,
    CounterAskedError,
    UnknownMetricError,
)

Aggregation = Literal["avg", "max", "min", "sum", "p95"]
TargetType = Literal["Value", "AverageValue"]


class Reading(Struct, frozen=True):
    """One way to read a rule: a family of one kind of exporter's page.

    Attributes:
        family: the name on the page, such as DCGM_FI_DEV_GPU_UTIL.
        minimum: the least value on the page that is believed, before it is scaled.
        maximum: the greatest value on the page that is believed. What lies outside is missing,
            never clipped: DCGM's sentinels are huge, and garbage in between has been seen.
        scale: what a believed value is multiplied by to have the rule's unit.
        divided_by: families whose sum, for the same GPU and pod, divides the value: a share of
            memory is what is used over what is used and what is free. Each of them must be
            believed too, within the same minimum and maximum; with a sum of 0 the value is missing.
        where: further labels that a row must have, with just these values.
        each: labels that number the parts of one GPU, whose mean is the GPU's value.
        unless: what contradicts a value of 0: where this reading has a value for the same GPU and
            pod, a 0 is not believed.
        beside: families of which one must be on the page too. They tell the exporter's release,
            where a name does not mean the same in all of them.
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


class MetricRule(Struct, frozen=True):
    """An external metric: where it is read and how it is aggregated.

    Attributes:
        name: what an HPA asks for, in lower case, as client-go sends it.
        help: one line for a person.
        unit: the unit of the answer.
        readings: the ways to read it, in order of preference; each GPU is read by the first that
            has a value for it.
        maximum: the greatest value that one GPU can have, in the rule's unit; what is believed and
            lies a little above it, as a profiling ratio may, counts as this.
        over_gpus: how a pod's GPUs become the pod's value.
        over_pods: how the pods' values become the answer.
        decimals: how many decimal places the answer has, from 0 to 3.
        window: over how many seconds the mean is taken, of a pod's values as they were scraped; 0
            takes the value of now.
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

    @property
    def target(self) -> TargetType:
        """The HPA's target type that it is for.

        For Value the HPA multiplies by its count of ready pods, for AverageValue it does not: a
        mean under AverageValue would shrink the workload, and a sum under Value would grow it.
        """
        return "AverageValue" if self.over_pods == "sum" else "Value"


def sum_of(rule: MetricRule) -> MetricRule:
    """The metric NAME_sum of a mean: for AverageValue, as most HPAs on external metrics ask."""
    return structs.replace(
        rule, name=f"{rule.name}_sum", help=f"{rule.help}: the sum over pods", over_pods="sum"
    )


class Counters(Struct, frozen=True):
    """Families that only ever grow, so that no HPA can scale on them.

    Attributes:
        pattern: a regular expression for their whole names, in lower case.
        instead: what to ask for instead.
    """

    pattern: str
    instead: str


class Rules:
    """The rules in force, found by name without regard to case.

    client-go lowercases the metric name in the URL, so two rules whose names differ by case only
    could not be told apart.

    The sum of each mean, NAME_sum, is found whether or not it is listed.

    Args:
        rules: what is served, and listed in discovery.
        gauges: rules for gauges of exporters, found by the family's own name where no rule of
            `rules` has it; not listed.
        counters: families that are refused with a reason.

    Raises:
        ConfigurationError: two rules have the same name but for case.
    """

    def __init__(
        self,
        rules: Iterable[MetricRule],
        gauges: Iterable[MetricRule] = (),
        counters: Sequence[Counters] = (),
    ) -> None:
        by_name: dict[str, MetricRule] = {}
        for rule in rules:
            other = by_name.setdefault(rule.name.lower(), rule)
            if other is not rule:
                raise ConfigurationError(
                    f'rules "{other.name}" and "{rule.name}" have the same name: '
                    "upper and lower case are the same in names"
                )
        self._rules = by_name
        self._gauges = {
            gauge.name.lower(): gauge for gauge in gauges if gauge.name.lower() not in by_name
        }
        self._sums = {
            f"{name}_sum": sum_of(rule)
            for name, rule in (self._gauges | by_name).items()
            if rule.over_pods == "avg"
        }
        self._names = tuple(self.names())
        self._gauge_names = tuple(self.gauges())
        self._counters = [(re.compile(one.pattern), one.instead) for one in counters]

    def __iter__(self) -> Iterator[MetricRule]:
        """Every rule but the gauges, in the order in which they were given."""
        return iter(self._rules.values())

    def names(self) -> list[str]:
        """The names of all rules but the gauges, sorted."""
        return sorted(rule.name for rule in self)

    def gauges(self) -> list[str]:
        """The names of the gauges that can be asked for, sorted, as they stand on a page."""
        return sorted(gauge.readings[0].family for gauge in self._gauges.values())

    def known(self) -> list[str]:
        """Every name that is found, in lower case."""
        return [*(self._sums | self._gauges | self._rules)]

    def find(self, metric: str) -> MetricRule:
        """The rule of a metric, of a gauge, or of the sum of one.

        Raises:
            CounterAskedError: it is a counter of an exporter.
            UnknownMetricError: no rule has that name.
        """
        name = metric.lower()
        rule = self._rules.get(name) or self._gauges.get(name) or self._sums.get(name)
        if rule is not None:
            return rule
        self._refuse(metric, name.removesuffix("_sum"))
        raise UnknownMetricError(unknown_metric(metric, self._names, self._gauge_names))

    def refuse_counter(self, family: str) -> None:
        """Do nothing, unless a family only ever grows.

        Raises:
            CounterAskedError: it is one of the counters, and not one of the gauges.
        """
        if family.lower() not in self._gauges:
            self._refuse(family, family.lower())

    def _refuse(self, metric: str, name: str) -> None:
        for pattern, instead in self._counters:
            if pattern.fullmatch(name):
                raise CounterAskedError(metric, instead)
