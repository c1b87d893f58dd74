"""A question, what is measured for it, and its answer, as values; and the seam to the source."""

from collections.abc import Sequence
from hashlib import sha256
from math import inf
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from metrics_server.kube.labels import Selector
from metrics_server.kube.pods import Pod
from metrics_server.rules.model import MetricRule
from metrics_server.rules.series import SeriesSelector

Form = Literal["labelled", "plain", "pods"]
"""How an answer is presented:

- "labelled": one value, whose labels say where it came from (an External metric);
- "plain": one value without labels, which could not be marked as simulated and therefore never is
  (an Object metric);
- "pods": the value of each pod, and none for a pod that cannot be measured (a Pods metric).
"""


class Question(Struct, frozen=True, cache_hash=True):
    """An HPA's question.

    Attributes:
        namespace: where its pods are.
        metric: the name of the metric, in lower case.
        selector: which pods of the namespace.
        form: how the answer is presented.
        pod: only the pod of this name; "" for all.
        series: which rows of the pods' pages count.
    """

    namespace: str
    metric: str
    selector: Selector
    form: Form = "labelled"
    pod: str = ""
    series: SeriesSelector = SeriesSelector()

    @property
    def digest(self) -> bytes:
        """A short key for what is remembered of its pods, whatever the length of the selector."""
        parts = [self.namespace, self.metric, str(self.selector)]
        if self.series:
            parts.append(str(self.series))
        return sha256(msgspec.json.encode(parts)).digest()


class PodSample(Struct, frozen=True, gc=False):
    """One pod's measurement.

    Attributes:
        pod: its name.
        gpus: one value for each GPU of the pod, in the rule's unit; never empty.
        timestamp: when the oldest of them was read, by `time.monotonic`.
        shared: whether a pod that was not selected uses one of these GPUs too, so that the values
            may include its work.
    """

    pod: str
    gpus: tuple[float, ...]
    timestamp: float
    shared: bool = False


class Gap(Struct, frozen=True):
    """Why some of the pods have no sample.

    Attributes:
        reason: a short fixed word, as of a MeasurementMissingError.
        text: the cause, as a clause for a person.
    """

    reason: str
    text: str


class Collection(Struct, frozen=True):
    """A source's findings for the selected pods.

    Attributes:
        selected: how many pods were selected, without those that are excluded.
        samples: one for each pod that is covered.
        drained: the names of other pods that are terminating and no longer hold a GPU according to
            all exporters of their nodes: their work is known to be 0.
        gaps: why the other pods have no sample, the cause to fix first at the front.
        fresh_until: until when the source would report the same, by `time.monotonic`.
        excluded: the names of the pods that have rows, none of which the question's series
            selector matches: they are not part of the answer.
        source: where the samples came from: the name of a source, or two joined by "+" if some pods
            were measured by one and some by the other.
    """

    selected: int
    samples: tuple[PodSample, ...]
    gaps: tuple[Gap, ...] = ()
    fresh_until: float = 0
    drained: tuple[str, ...] = ()
    excluded: frozenset[str] = frozenset()
    source: str = "exporters"


class Measurement(Struct, frozen=True):
    """The measurement of a question's pods, as one number.

    Attributes:
        value: the pods' values as the rule aggregates them, not rounded yet; a mean covers all
            selected pods.
        timestamp: when its oldest sample was read, in seconds since the epoch.
        covered: how many of the selected pods have a value.
        selected: how many pods were selected.
        samples: one for each pod that was measured.
        leaving: how many of the selected pods are terminating.
        shared: whether pods that were not selected use some of the GPUs too.
        fresh_until: until when it would be the same, in seconds since the epoch.
        source: where the samples came from, as in a `Collection`.
    """

    value: float
    timestamp: float
    covered: int
    selected: int
    samples: tuple[PodSample, ...] = ()
    leaving: int = 0
    shared: bool = False
    fresh_until: float = 0
    source: str = "exporters"


class PodValue(Struct, frozen=True, gc=False):
    """One pod's value, in an answer of the form "pods".

    Attributes:
        pod: its name.
        value: in the rule's unit, finite, from 0.
        timestamp: when the oldest of its samples was read, by `time.monotonic`.
    """

    pod: str
    value: float
    timestamp: float


class Answer(Struct, frozen=True, cache_hash=True):
    """The answer to a question: one number, and the pods' own if the question asks for them.

    Attributes:
        value: in the rule's unit, finite, from 0.
        decimals: how many decimal places are reported.
        timestamp: when its oldest sample was read, by `time.monotonic`.
        source: where it came from: as in a `Measurement`, or "last-known" or "simulated".
        covered: how many of the selected pods have a sample.
        selected: how many pods were selected.
        shared: whether pods that were not selected use some of the GPUs too.
        window: the seconds before the timestamp that the value is a mean over; 0 if it is not one.
        pods: for the form "pods", one value for each pod that has a sample; never empty there.
        ceiling: the highest value that any of its pods can have.
    """

    value: float
    decimals: int
    timestamp: float
    source: str
    covered: int
    selected: int
    shared: bool = False
    window: int = 0
    pods: tuple[PodValue, ...] = ()
    ceiling: float = inf


class MetricSource(Protocol):
    """Where measurements come from: GPU exporters, or anything else that knows a pod's value."""

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods, all of one namespace, now.

        What cannot be measured is reported in the collection, never raised and never a zero.

        Raises:
            NoSeriesMatchesError: all pods were read, and no row matches `rule.series`.
            AmbiguousSeriesError: two values on the pages have the form that it names.
        """
        ...
