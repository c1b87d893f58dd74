"""What can be wrong with an HPA."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

from msgspec import Struct

from metrics_server.advising.names import MetricNames
from metrics_server.kube.autoscalers import MetricType
from metrics_server.measuring.fallback import FallbackKind, Simulated

Reason = Literal[
    "MeanUnderAverageValue",
    "SumUnderValue",
    "TargetTypeMismatch",
    "SelectorOfSeriesLabels",
    "SelectorMatchesNoPods",
    "SelectorMatchesOtherWorkloads",
    "SelectorOfPodsMetric",
    "SimulationScalesUp",
    "SimulationScalesDown",
    "SimulationRunsAway",
    "MetricNameUnknown",
    "MetricIsCounter",
]
"""The reason of the Warning event."""


class Finding(Struct, frozen=True):
    """One thing that is wrong with an HPA.

    Attributes:
        reason: what, as one word.
        metric: the metric that it is about, such as "External metric gpu_utilization".
        message: what is wrong, what harm it does, and what to do. As long as the HPA and its
            workloads stay the same, the message does, too.
        passing: whether it may be temporary, such as while a workload starts. Report it only if
            it lasts.
    """

    reason: Reason
    metric: str
    message: str
    passing: bool = False


class Setup(Struct, frozen=True):
    """The server's configuration, as far as findings depend on it.

    Attributes:
        names: the metrics that it serves.
        types: the types of metrics that it answers. The others may be answered by another server,
            such as KEDA's, under the same names.
        fallback: what it tries without a measurement, in order.
        last_known_max_age: how long a measurement is repeated, in seconds.
        simulated: the range of simulated values.
    """

    names: MetricNames
    types: AbstractSet[MetricType]
    fallback: Sequence[FallbackKind]
    last_known_max_age: float
    simulated: Simulated

    @property
    def simulates(self) -> bool:
        """Whether it answers with a simulated value."""
        return "simulated" in self.fallback

    @property
    def since(self) -> str:
        """When it does, as the end of a sentence."""
        if "last-known" not in self.fallback[: self.fallback.index("simulated")]:
            return "while its pods cannot be measured"
        return f"once its pods cannot be measured for {self.last_known_max_age:g} s"
