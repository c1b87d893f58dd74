"""The rows of a pod's page, as they are found among the series of many pages."""

from metrics_server.sources.prometheus.client import Series
from metrics_server.sources.prometheus.rows import Identity, identity


class PageRows:
    """The rows of one page.

    Attributes:
        window: over how many seconds its counters have grown.
        undecided: the label that may distinguish rows of the page, or copies of it; "" for none.
        series: the rows, each with how much it has grown, if that is known.
        names: of all labels.
        families: the names of the rows.
        grown: the names of those that have grown.
        oldest: when the row was scraped that was not scraped since; 0 without any row.
        newest: when its newest row was scraped.
    """

    def __init__(self, window: int, undecided: str) -> None:
        self.window = window
        self.undecided = undecided
        self.series: list[tuple[Series, float | None]] = []
        self.names: set[str] = set()
        self.families: set[str] = set()
        self.grown: set[str] = set()
        self.oldest = self.newest = 0.0

    def add(
        self, one: Series, times: dict[Identity, float], increases: dict[Identity, float]
    ) -> None:
        """Add a row, if its time is known, which is removed from the times."""
        key = identity(one.labels)
        if (at := times.pop(key, None)) is None:
            return
        increase = increases.pop(key, None)
        self.oldest = min(self.oldest, at) if self.series else at
        self.newest = max(self.newest, at)
        self.series.append((one, increase))
        self.names.update(one.labels)
        self.families.add(key[0])
        if increase is not None:
            self.grown.add(key[0])
