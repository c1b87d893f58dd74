"""The built-in catalogue: every metric that is served, and how it is read for each vendor.

A quantity is read by every name that its family has had. A page has the families of only one
vendor, so the order of vendors does not matter; within a vendor the order does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, structs

from metrics_server.rules.families import (
    MAX_CLOCK_MHZ,
    MAX_MEMORY_MIB,
    MAX_POWER_W,
    MAX_TEMPERATURE_C,
    MIB,
)
from metrics_server.rules.model import MetricRule, Reading, sum_of
from metrics_server.rules.quantities import Quantity, quantities
from metrics_server.rules.vendors.registry import VENDORS
from metrics_server.rules.vendors.vendor import Use, Vendor


class _Metric(Struct, frozen=True):
    """A metric of the catalogue, for exporters of every vendor."""

    name: str
    help: str
    unit: str
    maximum: float


_METRICS = (
    _Metric("gpu_utilization", "share of time in which a kernel ran on the GPU", "percent", 100),
    _Metric(
        "gpu_memory_copy_utilization",
        "share of time in which the GPU's memory was read or written",
        "percent",
        100,
    ),
    _Metric("gpu_memory_used", "framebuffer memory in use", "bytes", MAX_MEMORY_MIB * MIB),
    _Metric("gpu_memory_free", "framebuffer memory free", "bytes", MAX_MEMORY_MIB * MIB),
    _Metric(
        "gpu_memory_utilization",
        "framebuffer memory in use, as a share of used and free",
        "percent",
        100,
    ),
    _Metric("gpu_power_usage", "power drawn by the GPU", "watts", MAX_POWER_W),
    _Metric("gpu_temperature", "temperature of the GPU", "degrees Celsius", MAX_TEMPERATURE_C),
    _Metric(
        "gpu_sm_clock",
        "clock of the streaming multiprocessors, or of the compute dies",
        "MHz",
        MAX_CLOCK_MHZ,
    ),
    _Metric("gpu_memory_clock", "clock of the GPU's memory", "MHz", MAX_CLOCK_MHZ),
    _Metric(
        "gpu_tensor_utilization",
        "share of cycles in which the tensor pipe was active",
        "percent",
        100,
    ),
    _Metric(
        "gpu_memory_bandwidth_utilization",
        "share of cycles in which data moved to or from the GPU's memory",
        "percent",
        100,
    ),
)

# From the unit of a family to that of a metric.
_FACTORS: Mapping[tuple[str, str], float] = {("ratio", "percent"): 100, ("MiB", "bytes"): MIB}


def catalogue(vendors: Sequence[Vendor]) -> tuple[MetricRule, ...]:
    """Return every metric of these vendors' exporters: its mean, its sum and its maximum."""
    read = [(vendor, quantities(vendor.kinds)) for vendor in vendors]
    means = []
    for metric in _METRICS:
        readings = tuple(
            reading
            for vendor, known in read
            for reading in _readings(metric, vendor.metrics.get(metric.name, ()), known)
        )
        means.append(MetricRule(metric.name, metric.help, metric.unit, readings, metric.maximum))
    return (*means, *map(sum_of, means), *map(_max_of, means))


def _readings(
    metric: _Metric, uses: Iterable[str | Use], known: Mapping[str, Quantity]
) -> Iterator[Reading]:
    """Return the ways to read a metric from one vendor's exporters, in the metric's unit."""
    for use in uses:
        if isinstance(use, str):
            factor = _factor(known[use].unit, metric.unit)
            for reading in known[use].readings:
                yield structs.replace(reading, scale=reading.scale * factor)
        else:
            yield _reading(metric, use, known[use.family])


def _reading(metric: _Metric, use: Use, quantity: Quantity) -> Reading:
    """Return the reading of a family by its own name only, for the rows and share in use."""
    return structs.replace(
        quantity.readings[0],
        scale=100 if use.share_of else _factor(quantity.unit, metric.unit),
        divided_by=use.share_of,
        where=use.where,
        unless=use.unless,
    )


def _factor(unit: str, wanted: str) -> float:
    """Return the factor that converts one unit to another."""
    return 1 if unit == wanted else _FACTORS[unit, wanted]


def _max_of(rule: MetricRule) -> MetricRule:
    return structs.replace(
        rule,
        name=f"{rule.name}_max",
        help=f"{rule.help}: the highest of any GPU",
        over_gpus="max",
        over_pods="max",
    )


CATALOGUE: tuple[MetricRule, ...] = catalogue(VENDORS)
"""Every metric that is built in."""
