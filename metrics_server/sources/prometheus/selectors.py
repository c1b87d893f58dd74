"""The queries for what exporters and pods' pages say, in PromQL."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import Reading
from metrics_server.sources.prometheus.promql import (
    alternatives,
    equal,
    is_label_name,
    one_of,
    quoted,
)

# Bytes of the names of pods or nodes in a query, which repeats them for each way to label them.
_MAX_NAMES_BYTES = 8 * 1024

FAMILY = "gpu_metrics_server_family"
"""The label with the name of the family, where a function removes it from the result."""

EXPORTED = "exported_"
"""Prometheus's prefix for a page's label if the target has one of that name."""

TARGET = ("instance", "job")
"""The labels that every series has from its target."""

NODES = ("node", "kubernetes_node", "nodename")
"""Labels in which relabelling keeps the name of a target's node."""

REPLICAS = ("cluster", "prometheus", "prometheus_replica", "replica")
"""Labels that distinguish Prometheus servers which scrape the same target.

Rows of a page may have labels of these names too.
"""

PODS = (
    ("namespace", "pod"),
    ("kubernetes_namespace", "kubernetes_pod_name"),
    ("kubernetes_namespace", "kubernetes_pod"),
    ("k8s_namespace_name", "k8s_pod_name"),
)
"""Labels in which relabelling keeps the namespace and the name of a scraped pod."""


def families(readings: Iterable[Reading]) -> tuple[str, ...]:
    """Return the names of all rows that readings depend on, each once."""
    found: dict[str, None] = {}
    for reading in readings:
        others = (*reading.divided_by, *reading.beside, *reading.zero_beside)
        found |= dict.fromkeys((reading.rows, *others))
        if reading.unless is not None:
            found |= dict.fromkeys(families((reading.unless,)))
    return tuple(found)


def named(names: Sequence[str], dialects: Iterable[Dialect] = ()) -> str:
    """Return a matcher for families, with any prefix if their exporter's users choose one."""
    prefixed: dict[str, None] = {}
    for dialect in dialects:
        if dialect.stems and any(name.startswith(dialect.stems) for name in names):
            # The markers show which prefix it is.
            own = (name for name in names if name.startswith(dialect.stems))
            prefixed |= dict.fromkeys((*own, *dialect.markers))
    plain = [name for name in names if name not in prefixed]
    if not prefixed:
        return one_of("__name__", plain)
    parts = [f".*({alternatives(prefixed)})"]
    if plain:
        parts.insert(0, alternatives(plain))
    return f"__name__=~{quoted('|'.join(parts))}"


def of_pods(dialects: Iterable[Dialect], namespace: str, pods: Sequence[str]) -> tuple[str, ...]:
    """Return the matchers of GPU rows that name one of these pods.

    Without honor_labels, Prometheus renames a page's namespace or pod or both, where the target
    has a label of that name.
    """
    pairs = dict.fromkeys((one.namespace, one.pod) for one in dialects)
    found: list[str] = []
    for pair in pairs:
        renamed = product(*((label, f"{EXPORTED}{label}") for label in pair))
        found += [f"{equal(one, namespace)},{one_of(other, pods)}" for one, other in renamed]
    return tuple(found)


def of_nodes(dialects: Iterable[Dialect], nodes: Sequence[str]) -> tuple[str, ...]:
    """Return the matchers of rows whose exporter is on one of these nodes, by their labels."""
    labels = dict.fromkeys((*(host for one in dialects for host in one.hosts), *NODES))
    return tuple(one_of(label, nodes) for label in labels)


def of_targets(targets: Iterable[tuple[str, str]]) -> str:
    """Return the matchers of the rows of some targets, by instance and job."""
    instances, jobs = zip(*targets, strict=True)
    return f"{one_of('instance', instances)},{one_of('job', jobs)}"


def where(labels: Mapping[str, str]) -> str:
    """Return the matchers of labels that every series must have."""
    return ",".join(equal(label, value) for label, value in labels.items())


def portions(names: Iterable[str]) -> Iterator[Sequence[str]]:
    """Return the names in portions of a bounded length."""
    portion: list[str] = []
    size = 0
    for name in names:
        size += len(name) + 1
        if portion and size > _MAX_NAMES_BYTES:
            yield portion
            portion, size = [], len(name) + 1
        portion.append(name)
    if portion:
        yield portion


def joined(*matchers: str) -> str:
    """Return several matchers as one, of which some may be empty."""
    return ",".join(filter(None, matchers))


def select(*matchers: str) -> str:
    """Return a selector with these matchers, of which some may be empty."""
    return f"{{{joined(*matchers)}}}"


def any_of(expressions: Iterable[str]) -> str:
    """Return an expression for the series of several, no two of which have the same labels."""
    return " or ".join(expressions)


def counted(labels: Iterable[str], expression: str) -> str:
    """Return an expression for the different values of some labels."""
    return f"count by ({','.join(dict.fromkeys(labels))}) ({expression})"


def applied(function: str, selected: Mapping[str, Sequence[str]], window: str = "") -> str:
    """Return an expression for a function of several families, whose names it keeps in a label.

    Args:
        function: such as `timestamp` or `increase`.
        selected: the matchers to select the rows of each family with; any of them.
        window: the window of the function with its unit; "" if it has none.
    """
    over = f"[{window}]" if window else ""
    return any_of(
        f"label_replace({function}({select(equal('__name__', name), matchers)}{over}),"
        f'"{FAMILY}",{quoted(name)},"","")'
        for name, every in selected.items()
        for matchers in every
    )


def inventory_labels(
    dialects: Iterable[Dialect], readings: Iterable[Reading], others: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the labels by which rows name GPUs, their parts, and pods; and others."""
    own = dict.fromkeys(filter(is_label_name, others))
    for one in (
        every for dialect in dialects for every in (dialect, dialect.rival) if every is not None
    ):
        labels = (*one.marks, *one.gpu, one.namespace, one.pod, *one.hosts, one.part)
        own |= dict.fromkeys((*labels, *one.instance, *one.units, one.share, *one.alike))
    for reading in readings:
        own |= dict.fromkeys((*reading.each, *(name for name, _ in reading.where)))
        if reading.unless is not None:
            own |= dict.fromkeys(reading.unless.each)
    own.pop("", None)
    exported = (f"{EXPORTED}{label}" for label in own)
    return tuple(dict.fromkeys((*TARGET, *NODES, *REPLICAS, *own, *exported)))
