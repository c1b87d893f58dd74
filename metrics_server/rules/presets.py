"""The defaults of the configuration, and other facts combined from all vendors."""

from collections.abc import Iterable, Mapping

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.vendors.registry import VENDORS
from metrics_server.rules.vendors.vendor import Hints, Service, Vendor


def dialects(vendors: Iterable[Vendor]) -> tuple[Dialect, ...]:
    """Return the dialects of these vendors' exporters, in order of preference."""
    return tuple(one for vendor in vendors for one in vendor.dialects)


def gpu_resources(vendors: Iterable[Vendor]) -> tuple[str, ...]:
    """Return the resources that count as GPUs, as shell patterns."""
    return tuple(one for vendor in vendors for one in vendor.gpu_resources)


def shared_suffixes(vendors: Iterable[Vendor]) -> tuple[str, ...]:
    """Return the suffixes of resource names that mark shares of a GPU."""
    return tuple(one for vendor in vendors for one in vendor.shared_suffixes)


def services(vendors: Iterable[Vendor]) -> tuple[Service, ...]:
    """Return the Services to find exporters through, if the configuration names none."""
    return tuple(one for vendor in vendors for one in vendor.services)


def hints(vendors: Iterable[Vendor]) -> Mapping[str, Hints]:
    """Return what to do about a page without a value, by the dialect of its rows."""
    return {
        dialect.name: vendor.hints
        for vendor in vendors
        if vendor.hints is not None
        for dialect in vendor.dialects
    }


DIALECTS = dialects(VENDORS)
GPU_RESOURCES = gpu_resources(VENDORS)
SHARED_SUFFIXES = shared_suffixes(VENDORS)
SERVICES = services(VENDORS)
HINTS = hints(VENDORS)
