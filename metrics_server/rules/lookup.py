"""The rules in effect, looked up by name."""

import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from metrics_server.common.advice import unknown_metric
from metrics_server.errors import (
    ConfigurationError,
    CounterAskedError,
    UnknownMetricError,
)
from metrics_server.rules.model import MetricRule, sum_of


class Counters(Struct, frozen=True):
    """Families that only ever grow, which an HPA cannot scale on.

    Attributes:
        pattern: a regular expression for their whole names, in lower case.
        instead: what to ask for instead.
    """

    pattern: str
    instead: str


class Rules:
    """The rules in effect, looked up by name; names are not case-sensitive.

    client-go lowercases the metric name in the URL, so two rules whose names differ only in case
    could not be distinguished.

    The sum of each mean, NAME_sum, is found whether or not it is listed, except for quantiles.

    Args:
        rules: the rules that are served and listed in discovery.
        gauges: rules for exporters' gauges, found by the family's own name unless a rule of `rules`
            has that name; not listed.
        counters: families that are rejected with an explanation.

    Raises:
        ConfigurationError: two rules have names that differ only in case.
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
            if rule.has_sum
        }
        self._names = tuple(self.names())
        self._gauge_names = tuple(self.gauges())
        self._counters = [(re.compile(one.pattern), one.instead) for one in counters]

    def __iter__(self) -> Iterator[MetricRule]:
        """Iterate over every rule except the gauges, in their original order."""
        return iter(self._rules.values())

    def names(self) -> list[str]:
        """Return the names of all rules except the gauges, sorted."""
        return sorted(rule.name for rule in self)

    def gauges(self) -> list[str]:
        """Return the names of the gauges that can be requested, sorted, as on a page."""
        return sorted(gauge.readings[0].family for gauge in self._gauges.values())

    def known(self) -> list[str]:
        """Return every name that can be found, in lower case."""
        return [*(self._sums | self._gauges | self._rules)]

    def find(self, metric: str) -> MetricRule:
        """Return the rule of a metric, of a gauge, or of the sum of one.

        Raises:
            CounterAskedError: the name is that of an exporter's counter.
            UnknownMetricError: no rule has that name.
        """
        name = metric.lower()
        rule = self._rules.get(name) or self._gauges.get(name) or self._sums.get(name)
        if rule is not None:
            return rule
        self._refuse(metric, name.removesuffix("_sum"))
        raise UnknownMetricError(unknown_metric(metric, self._names, self._gauge_names))

    def refuse_counter(self, family: str) -> None:
        """Raise an error if a family is a counter.

        Raises:
            CounterAskedError: the family is one of the counters, and not one of the gauges.
        """
        if family.lower() not in self._gauges:
            self._refuse(family, family.lower())

    def _refuse(self, metric: str, name: str) -> None:
        for pattern, instead in self._counters:
            if pattern.fullmatch(name):
                raise CounterAskedError(metric, instead)
