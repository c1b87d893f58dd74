"""Which rows of pods' pages are copies: of one page, by several Prometheus servers that scrape it.

Such servers add a label of their own, such as `replica`, to all series. But the rows of a page may
have a label of that name too, and then they are different rows. What distinguishes these is `up`,
which a server writes for each target: it has the labels of the target and the server, and none of
the page.
"""

from collections.abc import Sequence

from metrics_server.sources.prometheus.client import Series
from metrics_server.sources.prometheus.moment import Moment
from metrics_server.sources.prometheus.promql import equal
from metrics_server.sources.prometheus.rows import Group, Labels
from metrics_server.sources.prometheus.selectors import REPLICAS, TARGET, counted, select
from metrics_server.sources.turns import Turns

_Target = tuple[str, ...]
# The values of each of the labels that may name a server.
_Values = tuple[set[str], ...]


class Copies:
    """Which labels distinguish the copies of each target's page; usually there are none."""

    def __init__(self) -> None:
        self._labels: dict[_Target, tuple[str, ...]] = {}
        self._undecided: dict[_Target, str] = {}

    def decide(self, target: _Target, seen: _Values, servers: _Values | None) -> None:
        """Decide about a target whose rows have different values of these labels.

        Args:
            target: its instance and job.
            seen: the values that its rows have, of each label.
            servers: the values that its `up` has; None if there is none.
        """
        of_copies: list[str] = []
        for name, values, others in zip(REPLICAS, seen, servers or seen, strict=True):
            if len(values) == 1:
                continue
            if servers is None or not (values <= others or values.isdisjoint(others - {""})):
                self._undecided[target] = name
            elif others - {""} and values <= others:
                of_copies.append(name)
        self._labels[target] = tuple(of_copies)

    def group_of(self, labels: Labels) -> Group:
        """Return the page, or the copy of one, that a series is of."""
        target = _target_of(labels)
        return (*target, *[labels.get(name, "") for name in self._labels.get(target, ())])

    def undecided(self, labels: Labels) -> str:
        """Return the label of a series that may be of the page or of a server; "" for none."""
        return self._undecided.get(_target_of(labels), "")


async def copies_of(moment: Moment, series: Sequence[Series], selection: str) -> Copies:
    """Return which rows are copies; `up` is queried only if the rows leave that open.

    Args:
        moment: when.
        series: the rows of some pods' pages.
        selection: the matchers of these pods' targets.

    Raises:
        QueryError: the query failed.
    """
    copies = Copies()
    seen = await _values_of(series)
    several = {of: values for of, values in seen.items() if any(len(one) > 1 for one in values)}
    if several:
        of_up = counted((*TARGET, *REPLICAS), select(equal("__name__", "up"), selection))
        servers = await _values_of(await moment.query(of_up))
        for target, values in several.items():
            copies.decide(target, values, servers.get(target))
    return copies


async def _values_of(series: Sequence[Series]) -> dict[_Target, _Values]:
    turns = Turns()
    found: dict[_Target, _Values] = {}
    for one in series:
        await turns.next()
        target = _target_of(one.labels)
        values = found.get(target)
        if values is None:
            values = found[target] = tuple([set() for _ in REPLICAS])
        for name, of in zip(REPLICAS, values, strict=True):
            of.add(one.labels.get(name, ""))
    return found


def _target_of(labels: Labels) -> _Target:
    return tuple([labels.get(name, "") for name in TARGET])
