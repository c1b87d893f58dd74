"""The pages of the exporters that measure some pods, as Prometheus last scraped them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from metrics_server.kube.pods import Pod
from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.sampling import names_of
from metrics_server.sources.prometheus.client import Series
from metrics_server.sources.prometheus.moment import Moment, drained, together, values_of
from metrics_server.sources.prometheus.rows import (
    Group,
    Labels,
    group_of,
    identity,
    node_of,
    renamed,
    row,
)
from metrics_server.sources.prometheus.selectors import (
    TARGET,
    any_of,
    applied,
    counted,
    families,
    inventory_labels,
    joined,
    named,
    of_nodes,
    of_pods,
    of_targets,
    portions,
    select,
    where,
)
from metrics_server.sources.turns import Turns

# Exporters in a query: with 8 GPUs each and a dozen families, some thousands of series.
_MAX_TARGETS = 32
# The family of rows that have no value, but name a GPU.
_INVENTORY = "gpu_metrics_server_inventory"


class ScrapedPage(Struct, frozen=True):
    """An exporter's page.

    Attributes:
        page: its rows, without those that are too old.
        target: the instance and the job that it was scraped as.
        node: the name of its node, by the labels of its target; "" if they do not say.
        time: when the oldest of its rows was scraped, by Prometheus's clock.
        stale: how old its newest row is that is too old, in seconds; None if there is none.
    """

    page: Page
    target: tuple[str, str]
    node: str
    time: float
    stale: float | None = None


class _Part(Struct, frozen=True):
    """The rows of some exporters, the rows that name their GPUs, and the times of the former."""

    values: list[Series]
    inventory: list[Series]
    times: list[Series]


async def pages_of(
    moment: Moment,
    readings: tuple[Reading, ...],
    pods: Sequence[Pod],
    *,
    dialects: tuple[Dialect, ...],
    required: Mapping[str, str],
    max_age: float,
    targets: Collection[tuple[str, str]] = (),
    labels: Sequence[str] = (),
) -> tuple[ScrapedPage, ...]:
    """Return the pages of the exporters that name these pods, all of one namespace.

    First the exporters are looked up, by the pods that their rows name, and for terminating pods by
    their nodes. Then their rows are queried as a whole, since those without a pod and those of
    other pods matter too; then the times of these samples, since a result has none. A row counts
    only if Prometheus has it at the moment: a series that ended is gone at once.

    Args:
        moment: when.
        readings: the readings of a rule.
        pods: the pods.
        dialects: how exporters label their rows.
        required: labels that every series must have.
        max_age: how old a sample may be, in seconds.
        targets: the exporters, if they are known already.
        labels: more labels that all rows of a GPU are to have, if the page has them.

    Raises:
        QueryError: a query failed: the missing rows may be the busiest.
    """
    matchers = where(required)
    names = named(families(readings), dialects)
    if not targets:
        targets = await _targets(moment, _lookups(pods, names, matchers, dialects))
    every = list(targets)
    identifying = inventory_labels(dialects, readings, labels)
    parts = await together(
        _part(moment, names, joined(of_targets(some), matchers), identifying)
        for some in (every[at : at + _MAX_TARGETS] for at in range(0, len(every), _MAX_TARGETS))
    )
    pages: list[ScrapedPage] = []
    for part in drained(parts):
        pages += await _pages(moment, part, targets, dialects, max_age)
    return tuple(pages)


async def _targets(moment: Moment, lookups: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Return the instance and the job of the exporters that look-ups find."""
    found: set[tuple[str, str]] = set()
    for query in lookups:
        for one in await moment.query(query):
            instance, job = one.labels.get("instance", ""), one.labels.get("job", "")
            # Without an instance, the rows of different exporters cannot be distinguished.
            if instance:
                found.add((instance, job))
    return frozenset(found)


def _lookups(
    pods: Sequence[Pod], names: str, matchers: str, dialects: Sequence[Dialect]
) -> Iterator[str]:
    """Return the queries for the exporters that name pods, or are on nodes of terminating pods."""
    for some in portions(pod.name for pod in pods):
        of = of_pods(dialects, pods[0].namespace, some)
        yield counted(TARGET, any_of(select(names, one, matchers) for one in of))
    nodes = {name for pod in pods if pod.terminating and pod.node for name in names_of(pod.node)}
    for some in portions(sorted(nodes)):
        of = of_nodes(dialects, some)
        yield counted(TARGET, any_of(select(names, one, matchers) for one in of))


async def _part(moment: Moment, names: str, targets: str, identifying: Sequence[str]) -> _Part:
    """Return what Prometheus has of some exporters."""
    values, inventory = await together(
        map(moment.query, (select(names, targets), counted(identifying, select(targets))))
    )
    present = dict.fromkeys(one.labels.get("__name__", "") for one in values)
    present.pop("", None)
    times: tuple[Series, ...] = ()
    if present:
        times = await moment.query(applied("timestamp", dict.fromkeys(present, (targets,))))
    return _Part([*values], [*inventory], [*times])


class _Rows:
    """The rows of one page, as they are found."""

    def __init__(self) -> None:
        self.values: list[tuple[Series, float]] = []
        self.stale: float | None = None
        self.inventory: list[Labels] = []
        self.names: set[str] = set()

    def names_gpu(self, labels: Labels) -> None:
        """Add the labels of a row."""
        self.inventory.append(labels)
        self.names.update(labels)


async def _pages(
    moment: Moment,
    part: _Part,
    targets: Collection[tuple[str, str]],
    dialects: tuple[Dialect, ...],
    max_age: float,
) -> list[ScrapedPage]:
    turns = Turns()
    by_series = await values_of(part.times, turns)
    groups: dict[Group, _Rows] = {}
    for one in drained(part.values):
        await turns.next()
        group = group_of(one.labels)
        if group[:2] not in targets:
            continue
        rows = groups.setdefault(group, _Rows())
        rows.names_gpu(one.labels)
        at = by_series.pop(identity(one.labels), None)
        if at is None:
            continue
        age = moment.age(at)
        if age > max_age:
            rows.stale = age if rows.stale is None else min(rows.stale, age)
        else:
            rows.values.append((one, at))
    for one in drained(part.inventory):
        await turns.next()
        if (found := groups.get(group_of(one.labels))) is not None:
            found.names_gpu(one.labels)
    return [await _page(moment, group, rows, dialects, turns) for group, rows in groups.items()]


async def _page(
    moment: Moment, group: Group, rows: _Rows, dialects: tuple[Dialect, ...], turns: Turns
) -> ScrapedPage:
    without = renamed(rows.names)
    oldest = min([at for _, at in rows.values], default=0.0)
    lines: list[str] = []
    for one, _ in drained(rows.values):
        await turns.next()
        lines.append(row(one.labels["__name__"], one.labels, one.value, without))
    named_gpus: dict[str, None] = {}
    for labels in drained(rows.inventory):
        await turns.next()
        named_gpus[row(_INVENTORY, labels, 1, without)] = None
    body = "".join((*lines, *named_gpus)).encode()
    page = Page(f"{group[0]} ({group[1]})", body, moment.monotonic(oldest), dialects)
    return ScrapedPage(page, (group[0], group[1]), node_of(group), oldest, rows.stale)
