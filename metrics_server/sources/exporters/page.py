"""An exporter's page: the values on it, by pod."""

from collections.abc import Iterator

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import Reading
from metrics_server.rules.presets import DIALECTS
from metrics_server.sources.exporters.inventory import Inventory, Known, LabelOfGpus
from metrics_server.sources.exporters.pod_mapper import Attribution, attribute
from metrics_server.sources.exporters.remembering import RememberedRows
from metrics_server.sources.exporters.sheet import Sheet


class Page:
    """One exporter's metrics page.

    Args:
        target: the URL it came from.
        body: the page, in the Prometheus text format.
        timestamp: when it was requested, by `time.monotonic`: its values are no older.
        dialects: the dialects of its labels, in order of preference.
        remembered: what the labels on exporters' last pages mean.

    Attributes:
        target: as above.
        timestamp: as above.
        dialects: as above.
    """

    __slots__ = ("_attributions", "_remembered", "_sheet", "dialects", "target", "timestamp")

    def __init__(
        self,
        target: str,
        body: bytes,
        timestamp: float,
        dialects: tuple[Dialect, ...] = DIALECTS,
        remembered: RememberedRows | None = None,
    ) -> None:
        self.target = target
        self.dialects = dialects
        self.timestamp = timestamp
        self._remembered = remembered
        self._sheet = Sheet(body, dialects, remembered.of(target) if remembered else {})
        self._attributions: dict[tuple[Reading, ...], Attribution] = {}

    @property
    def body(self) -> bytes:
        """The page, in the Prometheus text format."""
        return self._sheet.text.read()

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._sheet.text.size

    @property
    def held(self) -> int:
        """How many bytes its text takes now, which may be compressed."""
        return self._sheet.text.held

    @property
    def lines(self) -> int:
        """How many lines it has; counted each time."""
        return self.body.count(b"\n")

    def is_parsed(self, readings: tuple[Reading, ...]) -> bool:
        """Return whether `attribution` has nothing left to do."""
        return readings in self._attributions

    def attribution(self, readings: tuple[Reading, ...]) -> Attribution:
        """Return the page's values for pods; parsed once, however many requests share the page."""
        known = self._attributions.get(readings)
        if known is None:
            with self._sheet.text:
                known = self._attributions[readings] = attribute(self._sheet, readings)
            # Reading the labels again takes less memory than keeping those of a long page.
            if self._remembered is not None and not self._sheet.keeps_labels:
                self._remembered.keep(self.target, self._sheet.known)
        return known

    def parse(self, readings: tuple[Reading, ...]) -> None:
        """Read the values, so that `attribution` has nothing left to do."""
        self.attribution(readings)

    def parse_all(self, readings: tuple[Reading, ...]) -> None:
        """Read the values and the inventory; in this order, since `is_parsed` means both."""
        self.inventory()
        self.attribution(readings)

    def inventory(self) -> Inventory:
        """Return the GPUs on the page; computed once, when first needed."""
        return self._sheet.inventory

    def label(self, name: str) -> LabelOfGpus:
        """Return a label of each GPU on the page."""
        return self._sheet.label(name)

    def gpu_rows(self) -> list[Known]:
        """Return the labels of all GPU rows, interpreted."""
        return self._sheet.gpu_rows()

    def dialects_seen(self) -> Iterator[Dialect]:
        """Return the dialects of the rows that were read so far; one may appear several times."""
        return self._sheet.dialects()
