"""What is measured, as values, and the seam behind which it is measured."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from metrics_server.kube.pods import Pod
from metrics_server.rules import MetricRule


class PodSample(Struct, frozen=True, gc=False):
    """One pod's measurement.

    Attributes:
        pod: the pod's name; its namespace is the question's.
        gpus: one value for each GPU of the pod, in the rule's unit; never empty.
        timestamp: when they were read, in seconds since the epoch.
    """

    pod: str
    gpus: tuple[float, ...]
    timestamp: float


class TargetFailure(Struct, frozen=True, gc=False):
    """An exporter that gave no usable page.

    Attributes:
        target: its URL.
        message: how it failed, as a phrase that follows the URL in a sentence.
    """

    target: str
    message: str


class Collection(Struct, frozen=True):
    """What a source found for the pods that it was asked about.

    Attributes:
        asked: how many pods it was asked about.
        samples: one for each pod that is covered.
        nodes_without_exporter: nodes of uncovered pods on which no exporter is known.
        failures: exporters on the nodes of uncovered pods that gave no usable page.
        pods_without_sample: uncovered pods whose exporter answered, but without a value for them.
    """

    asked: int
    samples: tuple[PodSample, ...]
    nodes_without_exporter: tuple[str, ...] = ()
    failures: tuple[TargetFailure, ...] = ()
    pods_without_sample: tuple[str, ...] = ()


class MetricSource(Protocol):
    """Where measurements come from: GPU exporters, or whatever else can tell a pod's value."""

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods now.

        What cannot be measured is told in the answer, never raised and never a zero.
        """
        ...
