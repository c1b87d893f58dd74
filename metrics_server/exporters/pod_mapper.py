"""Attributes the values on an exporter's page to pods."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from metrics_server.exporters.dialects import Subject, subject
from metrics_server.exporters.exposition import parse_labels, rows
from metrics_server.rules import Reading


class Attribution(Struct, frozen=True):
    """What a page tells of pods.

    Attributes:
        by_pod: (namespace, name) of a pod to its GPUs, and each of them, by what identifies it on
            the node, to its value in the rule's unit. Never empty for a pod that is there.
        unattributed: how many GPUs have a row that names no pod: all, if the exporter does not
            ask the kubelet; else those that are idle.
        rejected: how many values of pods were not believed: out of range, NaN, or a sentinel.
        conflicting: how many GPUs of pods had two different values; they are missing.
    """

    by_pod: Mapping[tuple[str, str], Mapping[str, float]]
    unattributed: int
    rejected: int
    conflicting: int


def attribute(page: bytes, readings: Sequence[Reading]) -> Attribution:
    """Attribute the values of a page to pods.

    Each GPU of a pod is read from the first reading that has a believed value for it. A GPU that
    is told twice with one value, as it is for each container and for each share of it, counts
    once. One that is told with two values is missing, and is not looked for in later readings:
    what is wrong may be the pod as well as the value.

    The answer does not depend on the order of lines, families and labels. No page raises.

    Args:
        page: the body of an exporter's answer.
        readings: the rule's, in order of preference.
    """
    # The families of a page repeat their rows' labels: each text of labels is parsed once, so
    # that a later reading costs little where it adds nothing.
    subjects: dict[str, Subject | None] = {}
    by_pod: dict[tuple[str, str], dict[str, float]] = {}
    settled: set[tuple[tuple[str, str], str]] = set()
    rejected = conflicting = 0
    for reading in readings:
        told: dict[tuple[tuple[str, str], str], set[float]] = {}
        for row in rows(page, reading.family):
            if row.labels not in subjects:
                subjects[row.labels] = subject(parse_labels(row.labels))
            measured = subjects[row.labels]
            if measured is None or measured.pod is None:
                continue
            place = (measured.pod, measured.gpu)
            if place in settled:
                continue
            # NaN is in no range.
            if reading.minimum <= row.value <= reading.maximum:
                told.setdefault(place, set()).add(row.value)
            else:
                rejected += 1
        for (pod, gpu), values in told.items():
            settled.add((pod, gpu))
            if len(values) > 1:
                conflicting += 1
            else:
                by_pod.setdefault(pod, {})[gpu] = values.pop() * reading.scale
    unnamed = {one.gpu for one in subjects.values() if one is not None and one.pod is None}
    return Attribution(by_pod, len(unnamed), rejected, conflicting)
