"""What a page tells of each GPU: for its pods, and for the device as a whole.

A pod's value is doubted, never guessed: it is a number, or it is missing for a reason.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.cells import Cell, Kind, Told
from metrics_server.sources.exporters.dialects import PodName, Subject
from metrics_server.sources.exporters.inventory import (
    Known,
    Place,
    is_meant,
    part_of,
)
from metrics_server.sources.exporters.sheet import Sheet

# By what identifies the GPU; within it by pod, None being the row of the device as a whole.
Measures = Mapping[str, Mapping[PodName | None, Told]]

_ABSENT = Told(None)


class Reader:
    """A page as the readings of one rule see it.

    Args:
        sheet: the page.
    """

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._measures: dict[Reading, Measures] = {}
        self._seen: dict[str, Known | None] = {}
        # The families, and GPUs, in which the rows of shares are by process.
        self._by_process: set[tuple[str, str]] = set()

    def subjects(self) -> list[Subject]:
        """What the rows that were read so far measure."""
        return [one.subject for one in self._seen.values() if one is not None]

    def unread(self) -> list[str]:
        """The texts of labels that were read so far and tell no GPU."""
        return [text for text, one in self._seen.items() if one is None]

    def measures(self, reading: Reading) -> Measures:
        """What a reading has for each GPU, not yet scaled to the rule's unit.

        Where every pod's row of a GPU says 0 and the device's own row says more, the pods' rows are
        unknown, and the device's value is theirs: from 4.8.2 on, dcgm-exporter writes such zeros
        with time-slicing where it cannot see the processes of pods.
        """
        known = self._measures.get(reading)
        if known is None:
            known = self._measures[reading] = self._measure(reading)
        return known

    def is_whole(self, reading: Reading, place: Place, told: Told) -> bool:
        """Whether what is told of a place is of all parts that it has."""
        if not told.parts:
            return told.is_whole
        return told.is_whole and self._sheet.parts(reading).get(place, told.parts) <= told.parts

    def is_contradicted(self, reading: Reading, place: Place) -> bool:
        """Whether a 0 of the reading is contradicted, be it by some parts of the GPU alone."""
        if reading.unless is None:
            return False
        told = self.measures(reading.unless).get(place[0], {}).get(place[1])
        return told is not None and told.value is not None

    def _measure(self, reading: Reading) -> Measures:
        table = self._table(reading.family, reading)
        if not table:
            return table
        if reading.beside and not any(map(self._sheet.rows, reading.beside)):
            return {}
        pods = {
            # Nearly always a GPU has rows of pods, or one of its own.
            gpu: self._settled(reading, gpu, by_pod)
            if None in by_pod or self._by_process
            else by_pod
            for gpu, by_pod in table.items()
        }
        if not reading.divided_by:
            return pods
        over = [
            (family, table if family == reading.family else self._table(family, reading))
            for family in reading.divided_by
        ]
        return {
            gpu: {
                pod: _share(
                    told, [self._divisor(reading, family, (gpu, pod), one) for family, one in over]
                )
                for pod, told in by_pod.items()
            }
            for gpu, by_pod in pods.items()
        }

    def _table(self, family: str, reading: Reading) -> dict[str, dict[PodName | None, Told]]:
        """The values of a family as they are on the page."""
        found = self._sheet.rows(family)
        if not found:
            return {}
        cells: dict[Place, Cell] = {}
        # Nearly always a place has one row, whose value is believed: it needs no cell.
        single: dict[Place, float] = {}
        minimum, maximum = reading.minimum, reading.maximum
        where, each = reading.where, reading.each
        for row in found:
            one = self._read(row.labels)
            if one is None or (where and not is_meant(one.labels, reading)):
                continue
            measured, value = one.subject, row.value
            part = part_of(one, reading) if each or measured.part else ()
            if None in part:
                continue
            if measured.is_share and family in one.dialect.by_process:
                self._by_process.add((family, measured.gpu))
            place = (measured.gpu, measured.pod)
            # NaN is in no range.
            is_believed = minimum <= value <= maximum
            if is_believed and not part and place not in cells and place not in single:
                single[place] = value
                continue
            cell = _cell_of(place, cells, single)
            if each:
                cell.number(one, reading)
            if is_believed:
                cell.parts.setdefault(part, set()).add(value)
            else:
                cell.doubt(part, value, maximum, one, family)
        return _told(single, cells)

    def _read(self, text: str) -> Known | None:
        """What the row with these labels measures; None if they do not tell."""
        known = self._sheet.known
        one = self._seen[text] = known[text] if text in known else self._sheet.read(text)
        return one

    def _settled(
        self, reading: Reading, gpu: str, by_pod: Mapping[PodName | None, Told]
    ) -> Mapping[PodName | None, Told]:
        """The rows of one GPU, with what pods' rows say of a device's processes set right."""
        device = by_pod.get(None)
        if device is None:
            # The pods' own zeros then tell nothing, whatever the device does.
            if (
                self._by_process
                and self._is_bereft(reading.family, gpu)
                and not any(told.value for told in by_pod.values())
            ):
                return dict.fromkeys(by_pod, _ABSENT)
            return by_pod
        if len(by_pod) == 1:
            return by_pod
        pods = {pod: told for pod, told in by_pod.items() if pod is not None}
        if device.value == 0 or any(
            told.value or told.conflicting or told.above for told in pods.values()
        ):
            return {
                pod: _capped(told, device) if told.above is not None else told
                for pod, told in by_pod.items()
            }
        # If the device's row is itself not believed, nobody knows whether the zeros are real; nor
        # where the row of a pod is missing that may be the one that is busy.
        everybody = self._sheet.inventory.pods.get(gpu, frozenset()) <= pods.keys()
        blind = device if everybody and all(one.value == 0 for one in pods.values()) else _ABSENT
        return {pod: blind if told.value == 0 else told for pod, told in by_pod.items()}

    def _is_bereft(self, family: str, gpu: str) -> bool:
        """Whether the device's row of a family is missing in which pods have rows by process."""
        return (family, gpu) in self._by_process and gpu in self._sheet.inventory.devices

    def _divisor(self, reading: Reading, family: str, place: Place, table: Measures) -> Told:
        """What one family of `over` adds for a pod.

        Where a device has a row of its own, a pod's row is the pod's share, and no share is taken
        of a share: FB_USED is a pod's while FB_FREE beside it is the device's.
        """
        by_pod = table.get(place[0], {})
        told = by_pod.get(None)
        if told is not None:
            return told
        told = by_pod.get(place[1], _ABSENT)
        if self._is_bereft(family, place[0]) or not self.is_whole(reading, place, told):
            return _ABSENT
        return told


def _cell_of(place: Place, cells: dict[Place, Cell], single: dict[Place, float]) -> Cell:
    """The cell of a place, with the single value that it had so far."""
    cell = cells.get(place)
    if cell is None:
        cell = cells[place] = Cell()
        if place in single:
            cell.parts[()] = {single.pop(place)}
    return cell


def _told(
    single: Mapping[Place, float], cells: Mapping[Place, Cell]
) -> dict[str, dict[PodName | None, Told]]:
    """What all places come to, by GPU and pod."""
    table: dict[str, dict[PodName | None, Told]] = {}
    for (gpu, pod), value in single.items():
        table.setdefault(gpu, {})[pod] = Told(value)
    most = _most_parts(cells.values())
    for (gpu, pod), cell in cells.items():
        table.setdefault(gpu, {})[pod] = cell.settle(most)
    return table


def _most_parts(cells: Iterable[Cell]) -> Mapping[Kind, int]:
    """How many parts a GPU of each kind has, where any is known to be alike."""
    most: dict[Kind, int] = {}
    for cell in cells:
        for kind in cell.kinds:
            most[kind] = max(most.get(kind, 0), len(cell.parts))
    return most


def _capped(told: Told, device: Told) -> Told:
    """A sum over processes that is above the maximum, capped at the device."""
    if told.above is None or not device.value:
        return told
    return structs.replace(told, capped=min(told.above, device.value))


def _share(told: Told, over: Sequence[Told]) -> Told:
    """A value as a share of a sum."""
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
    if share > 1:
        return Told(None, rejected + 1)
    return Told(share, rejected, is_whole=told.is_whole, parts=told.parts)
