"""Reads each GPU's values from a page, for its pods and for the device as a whole.

A pod's value is never guessed: it is a number, or it is missing for a reason.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.cells import Cell, Kind, Measured
from metrics_server.sources.exporters.dialects import PodName, Subject
from metrics_server.sources.exporters.inventory import (
    Known,
    Place,
    is_selected,
    part_of,
)
from metrics_server.sources.exporters.sheet import Sheet

# By GPU, then by pod; the pod None is the row of the device as a whole.
Measures = Mapping[str, Mapping[PodName | None, Measured]]

_ABSENT = Measured(None)


class Reader:
    """Reads the values of one rule's readings from a page.

    Args:
        sheet: the page.
    """

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._measures: dict[Reading, Measures] = {}
        self._seen: dict[str, Known | None] = {}
        # The families and GPUs whose rows of shares are per process.
        self._by_process: set[tuple[str, str]] = set()

    def subjects(self) -> list[Subject]:
        """Return what the rows that were read so far measure."""
        return [one.subject for one in self._seen.values() if one is not None]

    def unread(self) -> list[str]:
        """Return the label texts that were read so far and identify no GPU."""
        return [text for text, one in self._seen.items() if one is None]

    def measures(self, reading: Reading) -> Measures:
        """Return a reading's values for each GPU, not yet scaled to the rule's unit.

        If every pod's row of a GPU is 0 and the device's own row is more, the pods' values are
        unknown and the device's value is used: since 4.8.2, dcgm-exporter writes such zeros with
        time-slicing when it cannot see the processes of pods.
        """
        known = self._measures.get(reading)
        if known is None:
            known = self._measures[reading] = self._measure(reading)
        return known

    def is_whole(self, reading: Reading, place: Place, measured: Measured) -> bool:
        """Return whether the value of a place covers all of its parts."""
        if not measured.parts:
            return measured.is_whole
        return (
            measured.is_whole
            and self._sheet.parts(reading).get(place, measured.parts) <= measured.parts
        )

    def is_contradicted(self, reading: Reading, place: Place) -> bool:
        """Return whether a 0 is contradicted, even if only by some parts of the GPU."""
        if reading.unless is None:
            return False
        measured = self.measures(reading.unless).get(place[0], {}).get(place[1])
        return measured is not None and measured.value is not None

    def _measure(self, reading: Reading) -> Measures:
        table = self._table(reading.family, reading)
        if not table:
            return table
        if reading.beside and not any(map(self._sheet.rows, reading.beside)):
            return {}
        pods = {
            # Nearly always a GPU has either rows of pods or its own row.
            gpu: self._settled(reading, gpu, by_pod)
            if None in by_pod or self._by_process
            else by_pod
            for gpu, by_pod in table.items()
        }
        if not reading.divided_by:
            return pods
        divisors = [
            (family, table if family == reading.family else self._table(family, reading))
            for family in reading.divided_by
        ]
        return {
            gpu: {
                pod: _share(
                    measured,
                    [self._divisor(reading, family, (gpu, pod), one) for family, one in divisors],
                )
                for pod, measured in by_pod.items()
            }
            for gpu, by_pod in pods.items()
        }

    def _table(self, family: str, reading: Reading) -> dict[str, dict[PodName | None, Measured]]:
        """Return the values of a family as they are on the page."""
        found = self._sheet.rows(family)
        if not found:
            return {}
        cells: dict[Place, Cell] = {}
        # Nearly always a place has one row with an accepted value: it needs no cell.
        single: dict[Place, float] = {}
        minimum, maximum = reading.minimum, reading.maximum
        where, each = reading.where, reading.each
        for row in found:
            one = self._read(row.labels)
            if one is None or (where and not is_selected(one.labels, reading)):
                continue
            subject, value = one.subject, row.value
            part = part_of(one, reading) if each or subject.part else ()
            if None in part:
                continue
            if subject.is_share and family in one.dialect.by_process:
                self._by_process.add((family, subject.gpu))
            place = (subject.gpu, subject.pod)
            # NaN is outside every range.
            is_accepted = minimum <= value <= maximum
            if is_accepted and not part and place not in cells and place not in single:
                single[place] = value
                continue
            cell = _cell_of(place, cells, single)
            if each:
                cell.number(one, reading)
            if is_accepted:
                cell.parts.setdefault(part, set()).add(value)
            else:
                cell.doubt(part, value, maximum, one, family)
        return _by_gpu(single, cells)

    def _read(self, text: str) -> Known | None:
        """Return what the row with these labels measures; None if they do not say."""
        known = self._sheet.known
        one = self._seen[text] = known[text] if text in known else self._sheet.read(text)
        return one

    def _settled(
        self, reading: Reading, gpu: str, by_pod: Mapping[PodName | None, Measured]
    ) -> Mapping[PodName | None, Measured]:
        """Return the values of one GPU, with per-process rows of pods corrected."""
        device = by_pod.get(None)
        if device is None:
            # The pods' zeros then mean nothing, whatever the device is doing.
            if (
                self._by_process
                and self._lacks_device_row(reading.family, gpu)
                and not any(measured.value for measured in by_pod.values())
            ):
                return dict.fromkeys(by_pod, _ABSENT)
            return by_pod
        if len(by_pod) == 1:
            return by_pod
        pods = {pod: measured for pod, measured in by_pod.items() if pod is not None}
        if device.value == 0 or any(
            measured.value or measured.conflicting or measured.above for measured in pods.values()
        ):
            return {
                pod: _capped(measured, device) if measured.above is not None else measured
                for pod, measured in by_pod.items()
            }
        # The zeros may be false if the device's own row was rejected, or if the row of another pod
        # is missing, which may be the busy one.
        all_named = self._sheet.inventory.pods.get(gpu, frozenset()) <= pods.keys()
        unseen = device if all_named and all(one.value == 0 for one in pods.values()) else _ABSENT
        return {
            pod: unseen if measured.value == 0 else measured for pod, measured in by_pod.items()
        }

    def _lacks_device_row(self, family: str, gpu: str) -> bool:
        """Return whether the device has no row in a family that has per-process rows of pods."""
        return (family, gpu) in self._by_process and gpu in self._sheet.inventory.devices

    def _divisor(self, reading: Reading, family: str, place: Place, table: Measures) -> Measured:
        """Return what one family of `divided_by` adds for a pod.

        If the device has its own row, a pod's row is the pod's share, which must not be divided by
        another share: FB_USED is the pod's, but FB_FREE beside it is the device's.
        """
        by_pod = table.get(place[0], {})
        measured = by_pod.get(None)
        if measured is not None:
            return measured
        measured = by_pod.get(place[1], _ABSENT)
        if self._lacks_device_row(family, place[0]) or not self.is_whole(reading, place, measured):
            return _ABSENT
        return measured


def _cell_of(place: Place, cells: dict[Place, Cell], single: dict[Place, float]) -> Cell:
    """Return the cell of a place, including the single value that it had so far."""
    cell = cells.get(place)
    if cell is None:
        cell = cells[place] = Cell()
        if place in single:
            cell.parts[()] = {single.pop(place)}
    return cell


def _by_gpu(
    single: Mapping[Place, float], cells: Mapping[Place, Cell]
) -> dict[str, dict[PodName | None, Measured]]:
    """Return the values of all places, by GPU and pod."""
    table: dict[str, dict[PodName | None, Measured]] = {}
    for (gpu, pod), value in single.items():
        table.setdefault(gpu, {})[pod] = Measured(value)
    most = _most_parts(cells.values())
    for (gpu, pod), cell in cells.items():
        table.setdefault(gpu, {})[pod] = cell.settle(most)
    return table


def _most_parts(cells: Iterable[Cell]) -> Mapping[Kind, int]:
    """Return how many parts a GPU of each kind has, as far as its kind is known."""
    most: dict[Kind, int] = {}
    for cell in cells:
        for kind in cell.kinds:
            most[kind] = max(most.get(kind, 0), len(cell.parts))
    return most


def _capped(measured: Measured, device: Measured) -> Measured:
    """Cap a sum over processes that exceeds the maximum at the device's value."""
    if measured.above is None or not device.value:
        return measured
    return structs.replace(measured, capped=min(measured.above, device.value))


def _share(measured: Measured, divisors: Sequence[Measured]) -> Measured:
    """Divide a value by a sum."""
    if measured.value is None:
        return measured
    rejected = measured.rejected + sum(one.rejected for one in divisors if one.value is None)
    if any(one.conflicting for one in divisors):
        return Measured(None, rejected, conflicting=True)
    divisor = 0.0
    for one in divisors:
        if one.value is None:
            return Measured(None, rejected)
        divisor += one.value
    if divisor == 0:
        return Measured(None, rejected)
    # A share cannot exceed the whole: one of the two is wrong.
    share = measured.value / divisor
    if share > 1:
        return Measured(None, rejected + 1)
    return Measured(share, rejected, is_whole=measured.is_whole, parts=measured.parts)
