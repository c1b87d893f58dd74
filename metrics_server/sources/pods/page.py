"""A pod's own metrics page."""

from collections.abc import Sequence

from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources.pages.exposition import Row, rows
from metrics_server.sources.pods.series import NoValue, value_of


class PodPage:
    """A pod's own metrics page.

    Attributes:
        target: the URL it came from.
        body: the page, in the Prometheus text format.
        lines: how many lines it has.
        timestamp: when it was requested, by `time.monotonic`: its values are no older.
    """

    __slots__ = ("_parsed", "_rows", "_values", "body", "lines", "target", "timestamp")

    def __init__(self, target: str, body: bytes, timestamp: float) -> None:
        self.target = target
        self.body = body
        self.lines = body.count(b"\n")
        self.timestamp = timestamp
        self._rows: dict[str, Sequence[Row]] = {}
        self._parsed: set[tuple[Reading, ...]] = set()
        self._values: dict[str, float | NoValue] = {}

    def is_parsed(self, readings: tuple[Reading, ...]) -> bool:
        """Return whether the rows of these readings are known."""
        return readings in self._parsed

    def parse(self, readings: tuple[Reading, ...]) -> None:
        """Read the rows of these readings."""
        for reading in readings:
            for family in (reading.family, *reading.beside, *reading.zero_beside):
                self.rows(family)
        self._parsed.add(readings)

    def parse_all(self, readings: tuple[Reading, ...]) -> None:
        """Read the rows of these readings."""
        self.parse(readings)

    def rows(self, family: str) -> Sequence[Row]:
        """Return the rows of a family; searched for once."""
        found = self._rows.get(family)
        if found is None:
            found = self._rows[family] = rows(self.body, family)
        return found

    def value(self, rule: MetricRule) -> float | NoValue:
        """Return the value of the pod; computed once for each rule."""
        known = self._values.get(rule.name)
        if known is None:
            known = self._values[rule.name] = value_of(rule, self.rows)
        return known
