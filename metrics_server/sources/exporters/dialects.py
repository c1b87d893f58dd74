"""Reads a row's GPU, pod and node from its labels, in the dialect of its exporter."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.presets import DIALECTS

# (namespace, name) of a pod.
PodName = tuple[str, str]
Labels = Mapping[str, str | None]


class Subject(Struct, frozen=True, gc=False):
    """What a row measures.

    Attributes:
        gpu: identifies the GPU, or the instance of a partitioned one, on its node.
        pod: the pod that uses it; None if the row names none.
        host: the node, as the exporter names it; "" if the row has no node.
        part: which part of the GPU; "" for the whole GPU.
        is_instance: whether the GPU is an instance of a partitioned one.
        is_share: whether the row describes a share of the GPU.
        unit: distinguishes the several units of one GPU that a pod may have.
        whole: the GPU that it is an instance of; "" if it is not an instance.
    """

    gpu: str
    pod: PodName | None
    host: str = ""
    part: str = ""
    is_instance: bool = False
    is_share: bool = False
    unit: tuple[str, ...] = ()
    whole: str = ""


def dialect_of(labels: Labels, dialects: Sequence[Dialect] = DIALECTS) -> Dialect | None:
    """Return the dialect of the row with these labels; None if it is not a GPU row."""
    for dialect in dialects:
        if _matches(dialect, labels):
            rival = dialect.rival
            if rival and _matches(rival, labels) and _fit(rival, labels) > _fit(dialect, labels):
                return rival
            return dialect
    return None


def _matches(dialect: Dialect, labels: Labels) -> bool:
    """Return whether a row with these labels has all the marks of a dialect."""
    # "" counts as absent; None counts as present: it is a label with two values.
    for mark in dialect.marks:  # noqa: SIM110 - faster, and run for each row's labels
        if labels.get(mark, "") == "":
            return False
    return True


def _fit(dialect: Dialect, labels: Labels) -> tuple[bool, bool]:
    """Return how well a row that has the marks fits otherwise; greater is better."""
    gpu = labels[dialect.gpu[0]]
    names_pod = bool(labels.get(dialect.namespace) and labels.get(dialect.pod))
    return gpu is None or gpu.startswith(dialect.begins), names_pod


def subject(labels: Labels, dialects: Sequence[Dialect] = DIALECTS) -> Subject | None:
    """Return what the row with these labels measures.

    Args:
        labels: as `exposition.parse_labels` returns them; None is a label with two values.
        dialects: the dialects to try, in order of preference.

    Returns:
        None if it is not a GPU row, or if a label that its dialect reads has two values.
    """
    dialect = dialect_of(labels, dialects)
    return None if dialect is None else read(labels, dialect)


def read(labels: Labels, dialect: Dialect) -> Subject | None:
    """Return what the row measures, in this dialect, whose marks it has."""
    # Hardly a page has a label with two values, so this is not checked label by label.
    if None in labels.values() and _is_unclear(labels, dialect):
        return None
    get = labels.get
    gpu = [label for name in dialect.gpu if (label := get(name))]
    namespace, pod = get(dialect.namespace), get(dialect.pod)
    host = ""
    for name in dialect.hosts:
        if found := get(name):
            host = found
            break
    return Subject(
        "/".join(gpu),
        (namespace, pod) if namespace and pod else None,
        host,
        get(dialect.part) or "",
        bool(dialect.instance) and all(map(get, dialect.instance)),
        bool(dialect.share and get(dialect.share)),
        tuple(filter(None, map(get, dialect.units))),
        gpu[0] if len(gpu) > 1 else "",
    )


def _is_unclear(labels: Labels, dialect: Dialect) -> bool:
    """Return whether a label that names the GPU, the pod or the part has two values."""
    read = (dialect.namespace, dialect.pod, dialect.part, *dialect.marks, *dialect.gpu)
    return any(labels.get(name, "") is None for name in read)
