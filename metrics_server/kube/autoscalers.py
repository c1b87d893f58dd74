"""HorizontalPodAutoscalers (autoscaling/v2) as small records, with what checks need.

Whatever an object contains, decoding it does not raise, unless it has no name: a strange HPA must
not break the watch. What cannot be read is left out, and then cannot be checked.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from metrics_server.kube.label_selectors import LabelSelector
from metrics_server.kube.labels import MAX_REQUIREMENTS, Selector
from metrics_server.kube.series_selectors import split
from metrics_server.rules.series import SeriesSelector

MetricType = Literal["External", "Pods", "Object"]

# Status and managed fields included; an ordinary HPA has 3 KiB.
_MAX_BYTES = 64 * 1024
_MAX_METRICS = 16
# About what the structs of a record, a metric and a requirement take, without their texts.
_RECORD_BYTES, _METRIC_BYTES, _REQUIREMENT_BYTES = 600, 600, 300


class AutoscalerMetric(Struct, frozen=True):
    """One metric of an HPA.

    Attributes:
        type: External, Pods or Object.
        name: as the HPA spells it.
        selector: what the metric's own selector requires of pods.
        series: what it requires of the rows on their pages.
        target_type: target.type: Value, AverageValue or Utilization.
        value: target.value, a Quantity; "" without one.
        average_value: target.averageValue; likewise.
        described: the kind and name of an Object metric's object, such as "Service/web"; "" of
            another metric.
        read: whether the HPA's status shows a current value of it, so some server answers.
    """

    type: MetricType
    name: str
    selector: Selector
    target_type: str
    value: str = ""
    average_value: str = ""
    described: str = ""
    read: bool = False
    series: SeriesSelector = SeriesSelector()


class Autoscaler(Struct, frozen=True):
    """A HorizontalPodAutoscaler.

    Attributes:
        namespace: metadata.namespace.
        name: metadata.name.
        uid: metadata.uid.
        target: the kind and name of scaleTargetRef, such as "Deployment/web".
        min_replicas: spec.minReplicas; 1 without one.
        max_replicas: spec.maxReplicas.
        current_replicas: status.currentReplicas.
        metrics: those of its metrics that the decoder was asked for, as far as it can read them.
        bytes: about how much memory this takes.
    """

    namespace: str
    name: str
    uid: str
    target: str = ""
    min_replicas: int = 1
    max_replicas: int = 1
    current_replicas: int = 0
    metrics: tuple[AutoscalerMetric, ...] = ()
    bytes: int = _RECORD_BYTES


class _Metadata(Struct):
    name: str
    namespace: str
    uid: str = ""


class _Identified(Struct):
    metadata: _Metadata


class _Reference(Struct):
    kind: str = ""
    name: str = ""


class _Identifier(Struct):
    name: str = ""
    selector: LabelSelector | None = None


class _Target(Struct, rename="camel"):
    type: str = ""
    value: str | int | float | None = None
    average_value: str | int | float | None = None


class _Source(Struct, rename="camel"):
    metric: _Identifier
    described_object: _Reference | None = None
    target: _Target = msgspec.field(default_factory=_Target)


class _Metric(Struct):
    type: str = ""
    external: _Source | None = None
    pods: _Source | None = None
    object: _Source | None = None

    @property
    def known(self) -> tuple[MetricType, _Source] | None:
        """Its type and source; None for a type that is of no interest here."""
        match self.type:
            case "External" if self.external:
                return "External", self.external
            case "Pods" if self.pods:
                return "Pods", self.pods
            case "Object" if self.object:
                return "Object", self.object
        return None


class _Spec(Struct, rename="camel"):
    scale_target_ref: _Reference
    max_replicas: int
    min_replicas: int | None = None
    metrics: list[_Metric] | None = None


class _Status(Struct, rename="camel"):
    current_replicas: int | None = None
    current_metrics: list[_Metric] | None = None


class _Object(Struct):
    metadata: _Metadata
    spec: _Spec
    status: _Status | None = None


_decode_object = msgspec.json.Decoder(_Object).decode
_decode_identity = msgspec.json.Decoder(_Identified).decode


def autoscaler_decoder(
    wanted: Callable[[str], bool],
) -> Callable[[Raw | bytes], Autoscaler]:
    """Return a function that decodes an autoscaling/v2 HorizontalPodAutoscaler from JSON.

    It raises a msgspec.DecodeError, or a ValueError, only for an object without a name. One that
    is too large, or not as Kubernetes writes it, has no metrics.

    Args:
        wanted: whether metrics of a name are needed; the others are left out.
    """

    def decode(raw: Raw | bytes) -> Autoscaler:
        if len(memoryview(raw)) <= _MAX_BYTES:
            with suppress(msgspec.DecodeError, ValueError):
                return _record(_decode_object(raw), wanted)
        meta = _decode_identity(raw).metadata
        return Autoscaler(meta.namespace, meta.name, meta.uid)

    return decode


def _record(found: _Object, wanted: Callable[[str], bool]) -> Autoscaler:
    meta, spec, status = found.metadata, found.spec, found.status or _Status()
    # A metric that could not be read has an empty status.
    read = {
        (known[0], known[1].metric.name)
        for one in status.current_metrics or ()
        if (known := one.known)
    }
    metrics = tuple(
        _metric(kind, source, read=(kind, source.metric.name) in read)
        for kind, source in filter(None, (one.known for one in spec.metrics or ()))
        if wanted(source.metric.name)
    )[:_MAX_METRICS]
    return Autoscaler(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        target=_named(spec.scale_target_ref),
        min_replicas=1 if spec.min_replicas is None else spec.min_replicas,
        max_replicas=spec.max_replicas,
        current_replicas=status.current_replicas or 0,
        metrics=metrics,
        bytes=_RECORD_BYTES + sum(map(_bytes, metrics)),
    )


def _metric(kind: MetricType, source: _Source, *, read: bool) -> AutoscalerMetric:
    target = source.target
    pods, series = split(_selector(source.metric.selector))
    return AutoscalerMetric(
        type=kind,
        name=source.metric.name,
        selector=pods,
        series=series,
        target_type=target.type,
        value="" if target.value is None else str(target.value),
        average_value="" if target.average_value is None else str(target.average_value),
        described=_named(source.described_object) if source.described_object else "",
        read=read,
    )


def _named(reference: _Reference) -> str:
    return f"{reference.kind}/{reference.name}"


def _selector(found: LabelSelector | None) -> Selector:
    selector = found.parsed() if found else Selector()
    if len(selector.requirements) > MAX_REQUIREMENTS:
        raise ValueError(f"a selector has more than {MAX_REQUIREMENTS} requirements")
    return selector


def _bytes(metric: AutoscalerMetric) -> int:
    texts: Iterable[str] = (metric.name, metric.value, metric.average_value, metric.described)
    return (
        _METRIC_BYTES
        + sum(map(len, texts))
        + sum(
            _REQUIREMENT_BYTES + len(one.key) + sum(50 + len(value) for value in one.values)
            for one in metric.selector.requirements
        )
        + sum(
            _REQUIREMENT_BYTES + len(one.label) + sum(50 + len(value) for value in one.values)
            for one in metric.series.requirements
        )
    )
