"""A question, what is measured for it, and its answer, as values; and the seam to the source."""

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from metrics_server.kube.labels import Selector
from metrics_server.kube.pods import Pod
from metrics_server.rules import MetricRule

Origin = Literal["exporters", "last-known", "simulated"]


class Question(Struct, frozen=True):
    """What an HPA asks.

    Attributes:
        namespace: where its pods are.
        metric: the name of the external metric, as it was sent.
        selector: which pods of the namespace are meant.
    """

    namespace: str
    metric: str
    selector: Selector


class PodSample(Struct, frozen=True, gc=False):
    """One pod's measurement.

    Attributes:
        gpus: one value for each GPU of the pod, in the rule's unit; never empty.
        timestamp: when the oldest of them was read, in seconds since the epoch.
    """

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
        pods_without_sample: uncovered pods whose exporters all answered, but without a value.
        hints: what the exporters' pages tell of why, each a clause for a person.
    """

    asked: int
    samples: tuple[PodSample, ...]
    nodes_without_exporter: tuple[str, ...] = ()
    failures: tuple[TargetFailure, ...] = ()
    pods_without_sample: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


class Answer(Struct, frozen=True):
    """The one number that a question gets.

    Attributes:
        value: in the rule's unit, finite, from 0 to the rule's maximum.
        decimals: how many decimal places of it are told.
        timestamp: when its oldest sample was read, in seconds since the epoch.
        origin: where it came from.
        covered: how many of the selected pods have a sample.
        asked: how many pods were selected.
    """

    value: float
    decimals: int
    timestamp: float
    origin: Origin
    covered: int
    asked: int


class MetricSource(Protocol):
    """Where measurements come from: GPU exporters, or whatever else can tell a pod's value."""

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods, all of one namespace, now.

        What cannot be measured is told in the collection, never raised and never a zero.
        """
        ...
