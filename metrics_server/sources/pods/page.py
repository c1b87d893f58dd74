"""A pod's own metrics page."""

from collections.abc import Sequence

from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.pages.exposition import Row, rows
from metrics_server.sources.pods.history import History, Unknown
from metrics_server.sources.pods.series import NoValue, Part, part_of, read
from metrics_server.sources.pods.track import Increase, Series


class PodPage:
    """A pod's own metrics page.

    Attributes:
        target: the URL it came from.
        body: the page, in the Prometheus text format.
        lines: how many lines it has.
        timestamp: when it was requested, by `time.monotonic`: its values are no older.
    """

    __slots__ = ("_parsed", "_parts", "_rows", "_series", "body", "lines", "target", "timestamp")

    def __init__(self, target: str, body: bytes, timestamp: float) -> None:
        self.target = target
        self.body = body
        self.lines = body.count(b"\n")
        self.timestamp = timestamp
        self._rows: dict[str, Sequence[Row]] = {}
        self._series: dict[Reading, Series | NoValue] = {}
        self._parsed: set[tuple[Reading, ...]] = set()
        self._parts: dict[str, Part | NoValue] = {}

    def is_parsed(self, readings: tuple[Reading, ...]) -> bool:
        """Return whether the rows of these readings are known."""
        return readings in self._parsed

    def parse(self, readings: tuple[Reading, ...]) -> None:
        """Read the rows of these readings."""
        for reading in readings:
            self.series(reading)
            for family in (*reading.beside, *reading.zero_beside):
                self.rows(family)
        self._parsed.add(readings)

    def parse_all(self, readings: tuple[Reading, ...]) -> None:
        """Read the rows of these readings."""
        self.parse(readings)

    def rows(self, name: str) -> Sequence[Row]:
        """Return the rows of this name; searched for once."""
        found = self._rows.get(name)
        if found is None:
            found = self._rows[name] = rows(self.body, name)
        return found

    def series(self, reading: Reading) -> Series | NoValue:
        """Return the values of a reading's rows; read once."""
        found = self._series.get(reading)
        if found is None:
            found = self._series[reading] = read(reading, self.rows(reading.rows))
        return found

    def part(self, rule: MetricRule, namespace: str, history: History) -> Part | NoValue:
        """Return what it contributes to the value of its pod, which is in this namespace.

        Computed once for each rule.
        """

        def increase(reading: Reading, series: Series) -> Increase | Unknown:
            where = (namespace, self.target)
            return history.increase(*where, reading, rule.window, self.timestamp, series)

        known = self._parts.get(rule.name)
        if known is None:
            known = self._parts[rule.name] = part_of(rule, self, increase)
        return known
