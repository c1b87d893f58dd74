"""Families of exporters that can be asked for by their own names, and those that cannot."""

from collections.abc import Iterable

from metrics_server.rules.model import Counters, MetricRule
from metrics_server.rules.quantities import quantities
from metrics_server.rules.vendors.registry import VENDORS
from metrics_server.rules.vendors.vendor import Vendor


def gauges(vendors: Iterable[Vendor]) -> tuple[MetricRule, ...]:
    """A rule for each gauge of these vendors' exporters: averaged, in the unit of the page.

    Names are found without regard to case. Where two differ by case alone, they are two spellings
    of one quantity, and the first stands for both.
    """
    rules: dict[str, MetricRule] = {}
    for vendor in vendors:
        for quantity in quantities(vendor.kinds).values():
            name = quantity.family.lower()
            if quantity.is_gauge and name not in rules:
                rules[name] = MetricRule(
                    name=name,
                    help=f"{quantity.family}, as the exporter reports it",
                    unit=quantity.unit,
                    readings=quantity.readings,
                    maximum=quantity.maximum,
                    decimals=quantity.decimals,
                )
    return tuple(rules.values())


def counters(vendors: Iterable[Vendor]) -> tuple[Counters, ...]:
    """The families of these vendors' exporters that are refused, as they only ever grow."""
    return tuple(one for vendor in vendors for one in vendor.counters)


GAUGES: tuple[MetricRule, ...] = gauges(VENDORS)
"""A rule for each gauge that is known."""

COUNTERS: tuple[Counters, ...] = counters(VENDORS)
"""Families that are counters, some of which an exporter gives the type of a gauge."""
