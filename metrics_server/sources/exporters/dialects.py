"""What a row's labels say of its GPU, its pod and its node, in the dialect of its exporter."""

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
        gpu: identifies the GPU, or the instance of a partitioned one, among those of its node.
        pod: the pod that has it; None where the row names none.
        host: the node, as the exporter calls it; "" where the row does not tell.
        part: which part of the GPU; "" for all of it.
        is_instance: whether the GPU is an instance of a partitioned one.
        is_share: whether the row is of a share of the GPU.
        unit: what tells what the pod has of the GPU from what else it has of it.
        whole: the GPU that it is an instance of; "" where it is not one.
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
    """The dialect of the row with these labels; None if it is not a row of a GPU."""
    for dialect in dialects:
        if _matches(dialect, labels):
            rival = dialect.rival
            if rival and _matches(rival, labels) and _fit(rival, labels) > _fit(dialect, labels):
                return rival
            return dialect
    return None


def _matches(dialect: Dialect, labels: Labels) -> bool:
    """Whether a row with these labels has all the marks of a dialect."""
    # "" is no value; None is one, two in fact.
    for mark in dialect.marks:  # noqa: SIM110 - it is done for each row's labels, and is faster
        if labels.get(mark, "") == "":
            return False
    return True


def _fit(dialect: Dialect, labels: Labels) -> tuple[bool, bool]:
    """How well a row that has the marks fits otherwise; the greater the better."""
    gpu = labels[dialect.gpu[0]]
    names_pod = bool(labels.get(dialect.namespace) and labels.get(dialect.pod))
    return gpu is None or gpu.startswith(dialect.begins), names_pod


def subject(labels: Labels, dialects: Sequence[Dialect] = DIALECTS) -> Subject | None:
    """What the row with these labels measures.

    Args:
        labels: as `exposition.parse_labels` gives them, None being a label with two values.
        dialects: those to try, in order of preference.

    Returns:
        None if it is not a row of a GPU, or if a label that its dialect reads has two values.
    """
    dialect = dialect_of(labels, dialects)
    return None if dialect is None else read(labels, dialect)


def read(labels: Labels, dialect: Dialect) -> Subject | None:
    """What the row with these labels measures, in this dialect, whose marks it has."""
    namespace, pod = labels.get(dialect.namespace, ""), labels.get(dialect.pod, "")
    if namespace is None or pod is None:
        return None
    for mark in dialect.marks:
        if labels[mark] is None:
            return None
    gpu: list[str] = []
    for name in dialect.gpu:
        label = labels.get(name, "")
        if label is None:
            return None
        if label:
            gpu.append(label)
    part = labels.get(dialect.part, "")
    if part is None:
        return None
    host = ""
    for name in dialect.hosts:
        host = host or labels.get(name) or ""
    is_instance = bool(dialect.instance)
    for name in dialect.instance:
        is_instance = is_instance and bool(labels.get(name))
    return Subject(
        "/".join(gpu),
        (namespace, pod) if namespace and pod else None,
        host,
        part,
        is_instance,
        bool(dialect.share and labels.get(dialect.share)),
        tuple(filter(None, map(labels.get, dialect.units))),
        gpu[0] if len(gpu) > 1 else "",
    )
