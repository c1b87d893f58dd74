"""What a page tells of each GPU: for its pods, and for the device as a whole.

A pod's value is doubted, never guessed: it is a number, or it is missing for a reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from msgspec import Struct

from metrics_server.exporters.dialects import DIALECTS, Dialect, PodName, Subject, subject
from metrics_server.exporters.exposition import Row, parse_labels, prefixed_rows, rows
from metrics_server.rules import Reading

Labels = Mapping[str, str | None]


class Told(Struct, frozen=True, gc=False):
    """What a reading has for one GPU and one pod, or for one GPU as a whole.

    Attributes:
        value: None where it is missing.
        rejected: how many values were not believed: out of range, NaN, or a sentinel.
        conflicting: whether there were two different values to believe.
        excess: whether the values were above the maximum, but not so far that they cannot be sums
            over the processes of a pod.
    """

    value: float | None
    rejected: int = 0
    conflicting: bool = False
    excess: bool = False


# By what identifies the GPU; within it by pod, None being the row of the device as a whole.
Measures = dict[str, dict[PodName | None, Told]]

_ABSENT = Told(None)

# The processes of a pod add up to more than the device has: dcgm-exporter (from 4.8.2) does not cap
# their sum. What is further above than ten busy processes can be is garbage.
_MOST_EXCESS = 10
# Longer texts of digits number nothing.
_DIGITS = 5
# A reading whose maximum is no greater is a ratio; of an instance of a partitioned GPU it can truly
# be far above 1, as its share of the device is rounded (1.294 was seen).
_RATIO = 1.1
_MOST_INSTANCE_RATIO = 2


class _Cell:
    """What the rows of one GPU and one pod say, by part of the GPU."""

    __slots__ = ("excess", "parts", "rejected")

    def __init__(self) -> None:
        # By part, "" being the whole; within it by the values of the labels that number more.
        self.parts: dict[tuple[str | None, ...], set[float]] = {}
        self.rejected = 0
        self.excess = False

    def settle(self) -> Told:
        """One value of all of them."""
        parts = self.parts
        if len(parts) > 1 and any(part[0] for part in parts):
            # Some rows are about the whole, some about its parts: these say more.
            parts = {part: values for part, values in parts.items() if part[0]}
        told: list[float] = []
        for values in parts.values():
            if len(values) > 1:
                return Told(None, self.rejected, conflicting=True)
            told.extend(values)
        # The mean over some of its parts is not the GPU's.
        if len(told) < len(parts) or (len(parts) > 1 and _has_gap(parts)):
            return Told(None, self.rejected, excess=self.excess)
        return Told(told[0] if len(told) == 1 else fmean(told), self.rejected)


def _has_gap(parts: Iterable[tuple[str | None, ...]]) -> bool:
    """Whether the parts are numbered and a number between them is missing: a row was left out."""
    numbers = [int(last) for *_, last in parts if last and last.isdecimal() and len(last) < _DIGITS]
    return len(set(numbers)) > 1 and max(numbers) - min(numbers) >= len(set(numbers))


class Sheet:
    """A page as the readings of one rule see it.

    The families of a page repeat their rows' labels: each text of labels is parsed once, so that a
    further reading costs little where it adds nothing.

    Args:
        page: the body of an exporter's answer.
        dialects: how the labels of its rows are read, in order of preference.

    Attributes:
        ambiguous: how many texts of labels were read so far that have a label twice, and for that
            do not tell their GPU or pod.
    """

    def __init__(self, page: bytes, dialects: Sequence[Dialect] = DIALECTS) -> None:
        self._page = page
        self._dialects = dialects
        self._families: dict[str, list[Row]] = {}
        self._rows: dict[str, tuple[Subject, Labels] | None] = {}
        self._prefixes: dict[str, set[str]] = {}
        self.ambiguous = 0

    def subjects(self) -> list[Subject]:
        """What the rows that were read so far measure."""
        return [row[0] for row in self._rows.values() if row is not None]

    def measures(self, reading: Reading) -> Measures:
        """What a reading has for each GPU, in the rule's unit.

        Where every pod's row of a GPU says 0 and the device's own row says more, the pods' rows are
        unknown, and the device's value is theirs: from 4.8.2 on, dcgm-exporter writes such zeros
        with time-slicing where it cannot see the processes of pods.
        """
        table = self._table(reading.family, reading)
        if table and reading.beside and not any(map(self._has, reading.beside)):
            return {}
        pods = {gpu: _without_blind_zeros(by_pod) for gpu, by_pod in table.items()}
        if reading.unless is not None:
            pods = _without_contradictions(pods, self.measures(reading.unless))
        if not reading.over:
            return pods if reading.scale == 1 else _scaled(pods, reading.scale)
        over = [
            table if family == reading.family else self._table(family, reading)
            for family in reading.over
        ]
        return {
            gpu: {
                pod: _share(told, reading.scale, [_divisor(one.get(gpu, {}), pod) for one in over])
                for pod, told in by_pod.items()
            }
            for gpu, by_pod in pods.items()
        }

    def _table(self, family: str, reading: Reading) -> Measures:
        """The values of a family as they are on the page."""
        name = self._name(family)
        found = () if name is None else self._rows_of(name)
        cells: dict[tuple[str, PodName | None], _Cell] = {}
        minimum, maximum, each = reading.minimum, reading.maximum, reading.each
        is_ratio = 1 <= maximum <= _RATIO
        for row in found:
            text = row.labels
            known = self._rows[text] if text in self._rows else self._row(text)
            if known is None:
                continue
            measured, labels = known
            if reading.where and any(labels.get(name) != told for name, told in reading.where):
                continue
            part: tuple[str | None, ...] = (measured.part,)
            if each:
                part = (measured.part, *[labels.get(name, "") for name in each])
                if None in part:
                    continue
            place = (measured.gpu, measured.pod)
            cell = cells.get(place)
            if cell is None:
                cell = cells[place] = _Cell()
            values = cell.parts.setdefault(part, set())
            # NaN is in no range.
            if minimum <= row.value <= maximum:
                values.add(row.value)
            elif is_ratio and measured.is_instance and maximum < row.value <= _MOST_INSTANCE_RATIO:
                values.add(maximum)
            else:
                cell.rejected += 1
                cell.excess |= maximum < row.value <= maximum * _MOST_EXCESS
        table: Measures = {}
        for (gpu, pod), cell in cells.items():
            table.setdefault(gpu, {})[pod] = cell.settle()
        return table

    def _rows_of(self, name: str) -> list[Row]:
        """The rows of a family, which several readings may read: it is looked for once."""
        known = self._families.get(name)
        if known is None:
            known = self._families[name] = rows(self._page, name)
        return known

    def _has(self, family: str) -> bool:
        """Whether there are rows of a family."""
        begins = b"%s{" % family.encode()
        return b"\n" + begins in self._page or self._page.startswith(begins)

    def _row(self, text: str) -> tuple[Subject, Labels] | None:
        """What the row with these labels measures, and the labels."""
        labels = parse_labels(text)
        measured = subject(labels, self._dialects)
        known = self._rows[text] = None if measured is None else (measured, labels)
        self.ambiguous += known is None and None in labels.values()
        return known

    def _name(self, family: str) -> str | None:
        """The name of a family on this page; None where it cannot be told."""
        for dialect in self._dialects:
            if dialect.stem and family.startswith(dialect.stem):
                if dialect.stem not in self._prefixes:
                    self._prefixes[dialect.stem] = _prefixes(self._page, dialect, dialect.markers)
                # None of the markers need be on the page: the family itself is one.
                found = self._prefixes[dialect.stem] or _prefixes(self._page, dialect, (family,))
                if not found or "" in found:
                    return family
                return f"{min(found)}{family}" if len(found) == 1 else None
        return family


def _prefixes(page: bytes, dialect: Dialect, markers: Iterable[str]) -> set[str]:
    """What stands before the dialect's families on this page.

    The first marker of which there are rows of a GPU tells. No prefix at all goes before any; of
    two, none can be taken: one of them is another thing's.
    """
    # Not a page of this dialect, as nearly all are: they need not be searched twelve times.
    if dialect.marks[-1].encode() not in page:
        return set()
    for marker in markers:
        found = {
            prefix
            for prefix, row in prefixed_rows(page, marker)
            if subject(parse_labels(row.labels), (dialect,)) is not None
        }
        if found:
            return found
    return set()


def _without_blind_zeros(by_pod: dict[PodName | None, Told]) -> dict[PodName | None, Told]:
    """The rows of one GPU, with zeros that only say that the exporter is blind set right."""
    device = by_pod.get(None)
    # Nearly always a GPU has rows of pods, or one of its own.
    if device is None or len(by_pod) == 1 or device.value == 0:
        return by_pod
    pods = [told for pod, told in by_pod.items() if pod is not None]
    if any(told.value or told.conflicting or told.excess for told in pods):
        return by_pod
    # If the device's row is itself not believed, nobody knows whether the zeros are real.
    return {pod: device if told.value == 0 else told for pod, told in by_pod.items()}


def _without_contradictions(measures: Measures, others: Measures) -> Measures:
    """The measures without zeros that others contradict."""
    return {
        gpu: {
            pod: Told(None, told.rejected + 1)
            if told.value == 0 and others.get(gpu, {}).get(pod, _ABSENT).value
            else told
            for pod, told in by_pod.items()
        }
        for gpu, by_pod in measures.items()
    }


def _divisor(by_pod: Mapping[PodName | None, Told], pod: PodName | None) -> Told:
    """What one family of `over` adds for a pod.

    Where a device has a row of its own, a pod's row is the pod's share, and no share is taken of a
    share: FB_USED is a pod's while FB_FREE beside it is the device's.
    """
    return by_pod.get(None) or by_pod.get(pod) or _ABSENT


def _share(told: Told, scale: float, over: list[Told]) -> Told:
    """A value as a share of a sum, in the rule's unit."""
    if told.value is None:
        return told
    rejected = told.rejected + sum(one.rejected for one in over if one.value is None)
    if any(one.conflicting for one in over):
        return Told(None, rejected, conflicting=True)
    divisor = 0.0
    for one in over:
        if one.value is None:
            return Told(None, rejected)
        divisor += one.value
    if divisor == 0:
        return Told(None, rejected)
    # No share is more than the whole: one of the two is wrong.
    share = told.value / divisor
    return Told(share * scale, rejected) if share <= 1 else Told(None, rejected + 1)


def _scaled(measures: Measures, scale: float) -> Measures:
    """The same in the rule's unit."""
    return {
        gpu: {
            pod: told if told.value is None else Told(told.value * scale, told.rejected)
            for pod, told in by_pod.items()
        }
        for gpu, by_pod in measures.items()
    }
