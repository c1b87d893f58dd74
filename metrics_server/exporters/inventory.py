"""Which GPUs a page knows of, and whose they are, whatever it has measured of them.

Exporters leave out the rows of values that they do not have, and a text for a value makes a row
that cannot be read. So the rows of one family do not say which GPUs a pod has: those of all do.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from msgspec import Struct

from metrics_server.exporters.dialects import DIALECTS, Dialect, PodName, subject
from metrics_server.exporters.exposition import are_labels, parse_labels


class Holding(Struct, frozen=True, gc=False):
    """What a pod has by a page.

    Attributes:
        gpus: what identifies each of its GPUs, or instances of one, on the node.
        units: how many it has by the count of a request: two compute instances of one instance,
            or two shares of one GPU, are two.
        shared: whether other pods have one of them too, or it has a row of its own besides the
            pod's, as virtual GPUs have.
    """

    gpus: frozenset[str]
    units: int
    shared: bool


class Inventory(Struct, frozen=True):
    """The GPUs of a page.

    Attributes:
        by_pod: what each pod has that the page names.
        free: how many GPUs there are that no pod is named for.
    """

    by_pod: Mapping[PodName, Holding]
    free: int


def take_inventory(page: bytes, dialects: Sequence[Dialect] = DIALECTS) -> Inventory:
    """The GPUs of a page, by all rows of all families.

    Args:
        page: the body of an exporter's answer.
        dialects: how the labels of its rows are read, in order of preference.
    """
    units: dict[PodName, dict[str, set[tuple[str, ...]]]] = {}
    pods_of: dict[str, set[PodName | None]] = {}
    for text in _texts(page):
        measured = subject(parse_labels(text), dialects) if are_labels(text) else None
        if measured is None:
            continue
        pods_of.setdefault(measured.gpu, set()).add(measured.pod)
        if measured.pod is not None:
            of_pod = units.setdefault(measured.pod, {})
            of_pod.setdefault(measured.gpu, set()).add(measured.unit)
    by_pod = {
        pod: Holding(
            gpus=frozenset(of_pod),
            units=sum(_count(found) for found in of_pod.values()),
            shared=any(len(pods_of[gpu]) > 1 for gpu in of_pod),
        )
        for pod, of_pod in units.items()
    }
    return Inventory(by_pod, free=sum(pods == {None} for pods in pods_of.values()))


def _texts(page: bytes) -> Iterator[str]:
    """What stands between the braces of each line, each text once, whatever the line's value is."""
    found: set[bytes] = set()
    for line in page.split(b"\n"):
        begin, end = line.find(b"{"), line.rfind(b"}")
        if 0 < begin < end and not line.startswith(b"#"):
            found.add(line[begin + 1 : end])
    for text in found:
        with suppress(UnicodeDecodeError):
            yield text.decode()


def _count(units: set[tuple[str, ...]]) -> int:
    """How many shares of a GPU these are; rows about the whole name none."""
    return max(1, len(units - {()}))
