"""A pod's own metrics page."""

from collections.abc import Sequence
from typing import Literal

from metrics_server.common.text import printable
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.pages.exposition import Row, UnreadableRowError, rows
from metrics_server.sources.pages.text import Text
from metrics_server.sources.pods.history import History, Unknown
from metrics_server.sources.pods.room import SeriesRoom, size_of
from metrics_server.sources.pods.rows import Excluded, Found, NoValue, read
from metrics_server.sources.pods.selected import SelectedPage
from metrics_server.sources.pods.series import Part, part_of
from metrics_server.sources.pods.track import Increase, Series

# Of a row that cannot be read.
_MAX_SHOWN = 120

_State = Literal["absent", "read", "unreadable"]


class PodPage:
    """A pod's own metrics page.

    Args:
        target: the URL it came from.
        body: the page, in the Prometheus text format.
        timestamp: when it was requested, by `time.monotonic`.
        room: the memory for the series of all pages; by default as much as these pages take.

    Attributes:
        target: the URL it came from.
        timestamp: when it was requested, by `time.monotonic`: its values are no older.
        left_out: None: all rows count.
    """

    left_out = None

    __slots__ = (
        "__weakref__",
        "_families",
        "_held",
        "_parsed",
        "_parts",
        "_room",
        "_series",
        "_text",
        "target",
        "timestamp",
    )

    def __init__(
        self, target: str, body: bytes, timestamp: float, room: SeriesRoom | None = None
    ) -> None:
        self.target = target
        self._text = Text(body)
        self.timestamp = timestamp
        self._room = room
        self._held = 0
        # How the rows of each name are; the rows themselves would take much more than their values.
        self._families: dict[str, _State] = {}
        self._series: dict[Reading, Found | NoValue] = {}
        self._parsed: set[tuple[Reading, ...]] = set()
        self._parts: dict[str, Part | NoValue | Excluded] = {}

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._text.size

    @property
    def lines(self) -> int:
        """How many lines it has; counted each time."""
        return self._text.read().count(b"\n")

    def is_parsed(self, readings: tuple[Reading, ...]) -> bool:
        """Return whether the rows of these readings are known."""
        return readings in self._parsed

    def parse(self, readings: tuple[Reading, ...]) -> None:
        """Read the rows of these readings."""
        found: dict[str, Sequence[Row] | NoValue] = {}
        with self._text:
            for reading in readings:
                if reading not in self._series:
                    some = self._rows(reading.rows, found)
                    self._series[reading] = (
                        some if isinstance(some, NoValue) else self._kept(reading, some)
                    )
                for family in (*reading.beside, *reading.zero_beside):
                    self._rows(family, found)
        self._parsed.add(readings)

    def parse_all(self, readings: tuple[Reading, ...]) -> None:
        """Read the rows of these readings."""
        self.parse(readings)

    def has(self, name: str) -> bool:
        """Return whether there are rows of this name, whether or not they can be read."""
        return self._state(name) != "absent"

    def is_zero(self, reading: Reading) -> bool:
        """Return whether the absence of a reading's rows means 0, by a family beside it."""
        return any(self._state(name) == "read" for name in reading.zero_beside)

    def series(self, reading: Reading) -> Found | NoValue:
        """Return the values of a reading's rows; read once."""
        if reading not in self._series:
            self.parse((reading,))
        return self._series[reading]

    def _state(self, name: str) -> _State:
        if name not in self._families:
            self._rows(name, {})
        return self._families[name]

    def _rows(
        self, name: str, found: dict[str, Sequence[Row] | NoValue]
    ) -> Sequence[Row] | NoValue:
        """Return the rows of this name, which are searched for unless they were found before."""
        if name not in found:
            try:
                some = found[name] = rows(self._text.read(), name, exact=True)
                self._families[name] = "read" if some else "absent"
            except UnreadableRowError as error:
                line = printable(str(error), _MAX_SHOWN)
                found[name] = NoValue(f"has a row that cannot be read: {line}")
                self._families[name] = "unreadable"
        return found[name]

    def _kept(self, reading: Reading, some: Sequence[Row]) -> Found | NoValue:
        """Return the values of a reading's rows, if there is room to keep them."""
        found = read(reading, some)
        if some and self._room is not None and isinstance(found, Found):
            held = self._held + size_of(found)
            if not self._room.hold(self, held):
                return NoValue(
                    f"has {len(some)} rows of {reading.rows}, and the pages of other pods take all "
                    "the memory for so many"
                )
            self._held = held
        return found

    def part(
        self,
        rule: MetricRule,
        namespace: str,
        history: History,
        selected: SelectedPage | None = None,
    ) -> Part | NoValue | Excluded:
        """Return what it contributes to the value of its pod, which is in this namespace.

        Computed once for each rule; of this page as a series selector leaves it, each time: there
        may be any number of selectors.
        """

        def increase(reading: Reading, series: Series) -> Increase | Unknown:
            # All series are recorded, whichever of them a question selects.
            found = self.series(reading)
            every = found if isinstance(found, Found) else Found(series)
            where = (namespace, self.target, reading, rule.window, self.timestamp)
            grown = history.increase(*where, every.series, every.label_bytes or None)
            if series is every.series or not isinstance(grown, Increase):
                return grown
            if not series.keys() <= grown.of.keys():
                return "once"  # a later scrape no longer had them
            return Increase(grown.seconds, {key: grown.of[key] for key in series})

        if selected:
            return part_of(rule, selected, increase)
        known = self._parts.get(rule.name)
        if known is None:
            known = self._parts[rule.name] = part_of(rule, self, increase)
        return known
