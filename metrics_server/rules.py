"""Which metric is read from which exporter families, and how it is aggregated: rules as data."""

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from metrics_server.errors import ConfigurationError, UnknownMetricError

Aggregation = Literal["avg", "max", "min", "sum"]

MIB = 1024 * 1024
_ANY_CLOCK_MHZ = 10_000
_ANY_MEMORY_MIB = 10_000_000


class Reading(Struct, frozen=True):
    """A family of an exporter's page that a rule can be read from.

    Attributes:
        family: the name on the page, such as DCGM_FI_DEV_GPU_UTIL.
        minimum: the least value on the page that is believed.
        maximum: the greatest value on the page that is believed. What lies outside is missing,
            never clipped: DCGM's sentinels are huge, and garbage in between has been seen.
        scale: what a believed value is multiplied by to have the rule's unit.
    """

    family: str
    minimum: float
    maximum: float
    scale: float = 1


class MetricRule(Struct, frozen=True):
    """An external metric: where it is read and how it is aggregated.

    Attributes:
        name: what an HPA asks for, in lower case, as client-go sends it.
        help: one line for a person.
        unit: the unit of the answer.
        readings: the families that it can be read from, in order of preference; each GPU is read
            from the first that has a value for it.
        maximum: the greatest value the answer of one GPU can have, in the rule's unit.
        over_gpus: how a pod's GPUs become the pod's value.
        over_pods: how the pods' values become the answer.
        decimals: how many decimal places the answer has.
    """

    name: str
    help: str
    unit: str
    readings: tuple[Reading, ...]
    maximum: float
    over_gpus: Aggregation = "avg"
    over_pods: Aggregation = "avg"
    decimals: int = 0


# Families and units: NVIDIA/dcgm-exporter, etc/default-counters.csv.
CATALOGUE: tuple[MetricRule, ...] = (
    MetricRule(
        name="gpu_utilization",
        help="share of time in which a kernel ran on the GPU",
        unit="percent",
        readings=(
            Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100),
            # MIG instances have no GPU_UTIL. The profiling ratio can read a little above 1.
            Reading("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0, 1.01, scale=100),
        ),
        maximum=100,
    ),
    MetricRule(
        name="gpu_memory_copy_utilization",
        help="share of time in which the GPU's memory was read or written",
        unit="percent",
        readings=(Reading("DCGM_FI_DEV_MEM_COPY_UTIL", 0, 100),),
        maximum=100,
    ),
    MetricRule(
        name="gpu_memory_used",
        help="framebuffer memory in use",
        unit="bytes",
        readings=(Reading("DCGM_FI_DEV_FB_USED", 0, _ANY_MEMORY_MIB, scale=MIB),),
        maximum=_ANY_MEMORY_MIB * MIB,
    ),
    MetricRule(
        name="gpu_memory_free",
        help="framebuffer memory free",
        unit="bytes",
        readings=(Reading("DCGM_FI_DEV_FB_FREE", 0, _ANY_MEMORY_MIB, scale=MIB),),
        maximum=_ANY_MEMORY_MIB * MIB,
    ),
    MetricRule(
        name="gpu_power_usage",
        help="power drawn by the GPU",
        unit="watts",
        readings=(Reading("DCGM_FI_DEV_POWER_USAGE", 0, 10_000),),
        maximum=10_000,
    ),
    MetricRule(
        name="gpu_temperature",
        help="temperature of the GPU",
        unit="degrees Celsius",
        readings=(Reading("DCGM_FI_DEV_GPU_TEMP", 0, 200),),
        maximum=200,
    ),
    MetricRule(
        name="gpu_sm_clock",
        help="clock of the streaming multiprocessors",
        unit="MHz",
        readings=(Reading("DCGM_FI_DEV_SM_CLOCK", 0, _ANY_CLOCK_MHZ),),
        maximum=_ANY_CLOCK_MHZ,
    ),
    MetricRule(
        name="gpu_memory_clock",
        help="clock of the GPU's memory",
        unit="MHz",
        readings=(Reading("DCGM_FI_DEV_MEM_CLOCK", 0, _ANY_CLOCK_MHZ),),
        maximum=_ANY_CLOCK_MHZ,
    ),
)


class Rules:
    """The rules in force, found by name without regard to case.

    client-go lowercases the metric name in the URL, so two rules whose names differ by case only
    could not be told apart.

    Raises:
        ConfigurationError: two rules have the same name but for case.
    """

    def __init__(self, rules: Iterable[MetricRule] = CATALOGUE) -> None:
        by_name: dict[str, MetricRule] = {}
        for rule in rules:
            other = by_name.setdefault(rule.name.lower(), rule)
            if other is not rule:
                raise ConfigurationError(
                    f'rules "{other.name}" and "{rule.name}" have the same name: '
                    "names are compared without regard to case"
                )
        self._by_name: Mapping[str, MetricRule] = by_name

    def names(self) -> list[str]:
        """The names of all rules, sorted."""
        return sorted(rule.name for rule in self._by_name.values())

    def find(self, metric: str) -> MetricRule:
        """The rule of a metric.

        Raises:
            UnknownMetricError: no rule has that name.
        """
        rule = self._by_name.get(metric.lower())
        if rule is None:
            raise UnknownMetricError(metric, self.names())
        return rule
