"""The pods' own pages, as Prometheus last scraped them."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from msgspec import Struct

from metrics_server.kube.pods import Pod
from metrics_server.rules.model import Endpoint, Reading
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.rows import NoValue
from metrics_server.sources.prometheus.client import Series
from metrics_server.sources.prometheus.copies import Copies, copies_of
from metrics_server.sources.prometheus.moment import Moment, drained, together, values_of
from metrics_server.sources.prometheus.page_rows import PageRows
from metrics_server.sources.prometheus.promql import equal, one_of
from metrics_server.sources.prometheus.rows import (
    Group,
    Labels,
    renamed,
    row,
)
from metrics_server.sources.prometheus.selectors import (
    PODS,
    any_of,
    applied,
    counted,
    families,
    joined,
    named,
    portions,
    select,
    where,
)
from metrics_server.sources.turns import Turns

_LEAST_SAMPLES = 2
_NAMES_SHOWN = 3


class PagesOfPod(Struct, frozen=True):
    """A pod's pages, of which it has one, unless the rule names several ports.

    Attributes:
        pages: their rows; those of counters and histograms with their increase within `seconds`.
            Or why one has no value.
        seconds: the window of the increases.
        oldest: when the oldest of their rows was scraped, by Prometheus's clock; infinite if that
            is not known.
    """

    pages: tuple[PodPage, ...] | NoValue
    seconds: float = 0
    oldest: float = inf

    def pages_of(self, pod: Pod) -> tuple[PodPage, ...] | NoValue:
        """Return a pod's pages; they may have been found for an earlier pod with its name."""
        if self.oldest < pod.created:
            return NoValue("was last scraped by Prometheus before the pod was created")
        return self.pages


async def pages_of_pods(
    moment: Moment,
    readings: tuple[Reading, ...],
    pods: Sequence[Pod],
    *,
    window: int,
    endpoint: Endpoint,
    required: Mapping[str, str],
    max_age: float,
) -> Mapping[str, PagesOfPod]:
    """Return the pages of those of some pods, all of one namespace, that Prometheus has rows of.

    The first query finds which pods have rows, and how they are labelled; then the rows of just the
    present pods are queried, with the times of the samples.

    Args:
        moment: when.
        readings: the readings of a rule.
        pods: the pods.
        window: over how many seconds counters and histograms are read.
        endpoint: which port of a pod is meant, if Prometheus scrapes several.
        required: labels that every series must have.
        max_age: how old a sample may be, in seconds.

    Raises:
        QueryError: a query failed.
    """
    matchers = joined(named(families(readings)), where(required))
    by_name = {pod.name: pod for pod in pods}
    namespace = pods[0].namespace
    of_namespace = [equal(label, namespace) for label in dict.fromkeys(of for of, _ in PODS)]
    lookup = counted(
        (label for pair in PODS for label in pair),
        any_of(select(one, matchers) for one in of_namespace),
    )
    labelled: dict[tuple[str, str], dict[str, None]] = {}
    turns = Turns()
    for one in await moment.query(lookup):
        await turns.next()
        pair = _labels_of_pod(one.labels, namespace, by_name)
        if pair is not None:
            labelled.setdefault(pair, {})[one.labels[pair[1]]] = None
    parts = await together(
        _part(
            moment,
            readings,
            joined(equal(pair[0], namespace), one_of(pair[1], some), where(required)),
            seconds,
        )
        for pair, names in labelled.items()
        for seconds, those in _by_window(moment, [by_name[name] for name in names], window)
        for some in portions(those)
    )
    rows: dict[str, dict[Group, PageRows]] = {}
    for seconds, values, times, increases, copies in drained(parts):
        at, grown = await values_of(times, turns), await values_of(increases, turns)
        for one in drained(values):
            await turns.next()
            pair = _labels_of_pod(one.labels, namespace, by_name)
            if pair is not None:
                of_pod = rows.setdefault(one.labels[pair[1]], {})
                group = copies.group_of(one.labels)
                if (of_page := of_pod.get(group)) is None:
                    of_page = of_pod[group] = PageRows(seconds, copies.undecided(one.labels))
                of_page.add(one, at, grown)
    over_time = frozenset(one.rows for one in readings if one.is_over_time)
    pages: dict[str, PagesOfPod] = {}
    for name, groups in rows.items():
        chosen = _chosen(by_name[name], groups, endpoint)
        await turns.next(sum(len(one.series) for one in groups.values()))
        pages[name] = await _pages(by_name[name], chosen, moment, over_time, max_age)
    return pages


def _labels_of_pod(
    labels: Labels, namespace: str, pods: Mapping[str, Pod]
) -> tuple[str, str] | None:
    """Return the labels that name the pod that a row was scraped from; None if it is another."""
    for of, name in PODS:
        if labels.get(of) == namespace and labels.get(name) in pods:
            return of, name
    return None


def _by_window(
    moment: Moment, pods: Sequence[Pod], window: int
) -> Iterator[tuple[int, Sequence[str]]]:
    """Return the pods with the window to read each over.

    That of pods younger than the rule's window begins with the youngest of them: before, there may
    have been a pod of the same name, and its series may have the same labels.
    """
    ages = {pod.name: moment.age(pod.created) for pod in pods}
    old = [name for name, age in ages.items() if age >= window]
    young = [name for name, age in ages.items() if age < window]
    if old:
        yield window, old
    if young:
        yield max(1, int(min(ages[name] for name in young))), young


async def _part(
    moment: Moment, readings: tuple[Reading, ...], selection: str, window: int
) -> tuple[int, list[Series], list[Series], list[Series], Copies]:
    """Return the rows of some pods, their times, how much counters have grown, and the copies."""
    values = await moment.query(select(named(families(readings)), selection))
    copies = await copies_of(moment, values, selection)
    present = dict.fromkeys(one.labels.get("__name__", "") for one in values)
    counters = [one.rows for one in readings if one.is_over_time and one.rows in present]
    queries = []
    if present:
        queries.append(applied("timestamp", dict.fromkeys(present, (selection,))))
    if counters:
        queries.append(applied("increase", dict.fromkeys(counters, (selection,)), f"{window}s"))
    times, increases, *_ = (*await together(map(moment.query, queries)), (), ())
    return window, [*values], [*times], [*increases], copies


def _chosen(
    pod: Pod, groups: Mapping[Group, PageRows], endpoint: Endpoint
) -> Sequence[PageRows] | NoValue:
    """Return the pages of a pod that count, out of all that were scraped.

    If another job or another replica of Prometheus scraped the same page, the newest counts.
    """
    # Without those of an earlier pod of the same name.
    groups = {of: rows for of, rows in groups.items() if rows.newest >= pod.created} or groups
    by_instance: dict[str, PageRows] = {}
    for group in sorted(groups):
        known = by_instance.setdefault(group[0], groups[group])
        if groups[group].newest > known.newest:
            by_instance[group[0]] = groups[group]
    wanted = endpoint.ports or (() if endpoint.port is None else (endpoint.port,))
    if len(by_instance) == 1 and len(wanted) <= 1:
        return list(by_instance.values())
    several = ", ".join(list(by_instance)[:_NAMES_SHOWN])
    if not wanted:
        return NoValue(
            f"is scraped by Prometheus at several addresses ({several}): set the rule's "
            "endpoint.port, or endpoint.ports for all of them"
        )
    chosen: list[PageRows] = []
    for port in wanted:
        declared = pod.endpoint.ports if pod.endpoint else ()
        endings = [f":{number}" for name, number in declared if name == port] or [f":{port}"]
        found = [rows for one, rows in by_instance.items() if one.endswith(tuple(endings))]
        if len(found) != 1:
            return NoValue(
                f"is not scraped by Prometheus at port {port} of the rule's endpoint, but at "
                f"{several}"
            )
        chosen += found
    return chosen


async def _pages(
    pod: Pod,
    chosen: Sequence[PageRows] | NoValue,
    moment: Moment,
    over_time: frozenset[str],
    max_age: float,
) -> PagesOfPod:
    """Return the pages of a pod; or why one of them has no value."""
    if isinstance(chosen, NoValue):
        return PagesOfPod(chosen)
    turns = Turns()
    pages: list[PodPage] = []
    oldest = min(rows.oldest for rows in chosen)
    for rows in chosen:
        if (why := _why_not(rows, moment, over_time, max_age)) is not None:
            return PagesOfPod(why, oldest=oldest)
        without = renamed(rows.names)
        lines: list[str] = []
        for one, increase in drained(rows.series):
            await turns.next()
            name = one.labels.get("__name__", "")
            # A series that has just appeared has not grown yet.
            value = (increase or 0.0) if name in over_time else one.value
            lines.append(row(name, one.labels, value, without))
        target = f"{pod.namespace}/{pod.name} in Prometheus"
        pages.append(PodPage(target, "".join(lines).encode(), moment.monotonic(rows.oldest)))
    return PagesOfPod(tuple(pages), chosen[0].window, oldest)


def _why_not(
    rows: PageRows, moment: Moment, over_time: frozenset[str], max_age: float
) -> NoValue | None:
    """Return why a page has no value; None if it has one."""
    if rows.undecided:
        return NoValue(
            f"has rows in Prometheus that differ in {rows.undecided}, and no series named up shows "
            "whether that is a label of the page or of several Prometheus servers"
        )
    # A row that is no longer written must not be left out of a sum.
    if (age := moment.age(rows.oldest)) > max_age:
        return NoValue(
            f"has samples in Prometheus that are {age:.0f} s old, and prometheus.maxAge is "
            f"{max_age:g} s"
        )
    for family in over_time:
        if family in rows.families and family not in rows.grown:
            return NoValue(
                f"has fewer than {_LEAST_SAMPLES} samples of {family} in Prometheus within "
                f"{rows.window} s: the rule's window must be at least twice the interval of "
                "its scrapes"
            )
    return None
