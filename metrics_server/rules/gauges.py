"""Exporter families that can be requested by their own names, and those that cannot."""

from collections.abc import Iterable

from metrics_server.rules.lookup import Counters
from metrics_server.rules.model import MetricRule
from metrics_server.rules.quantities import quantities
from metrics_server.rules.vendors.registry import VENDORS
from metrics_server.rules.vendors.vendor import Vendor


def gauges(vendors: Iterable[Vendor]) -> tuple[MetricRule, ...]:
    """Return a rule for each gauge of these vendors' exporters: averaged, in the unit of the page.

    Names are not case-sensitive. If two names differ only in case, they are two spellings of one
    quantity, and the first is used for both.
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
    """Return the families of these vendors' exporters that are rejected as counters."""
    return tuple(one for vendor in vendors for one in vendor.counters)


GAUGES: tuple[MetricRule, ...] = gauges(VENDORS)
"""A rule for each known gauge."""

COUNTERS: tuple[Counters, ...] = counters(VENDORS)
"""Families that are counters, although exporters declare some of them as gauges."""
