"""A pod's page, restricted by a question's series selector."""

from collections.abc import Iterable, Iterator, Sequence

from metrics_server.rules.model import Reading
from metrics_server.rules.series import SeriesMatcher
from metrics_server.sources.pods.rows import Excluded, Found, NoValue, Unlabelled
from metrics_server.sources.pods.series import Page
from metrics_server.sources.pods.track import Key

# Every question takes time to search the series of a reading: at most this many, and this many of
# their labels. A comparison takes as long as a dozen labels.
_MAX_SEARCHED = 5000
_MAX_LABELS = 200_000
_COMPARISON = 12


class SelectedPage:
    """A page without the rows that do not match.

    If the rows have a label with other values, the pod is excluded. If no row has the label at all,
    the page says nothing about it: the pod is neither excluded nor idle, but has no value.

    Args:
        page: the whole page.
        matcher: which rows match.

    Attributes:
        left_out: what rows without a match mean for the pod; None if there were none yet.
    """

    def __init__(self, page: Page, matcher: SeriesMatcher) -> None:
        self._page = page
        self._matcher = matcher
        self.left_out: Excluded | Unlabelled | None = None
        self._searched: dict[Reading, tuple[set[Key], str]] = {}

    def has(self, name: str) -> bool:
        """Return whether there are rows of this name, whether or not they match."""
        return self._page.has(name)

    def is_zero(self, reading: Reading) -> bool:
        """Return whether the page shows that the absence of a reading's rows means 0."""
        return self._page.is_zero(reading) and not isinstance(self.left_out, Unlabelled)

    def series(self, reading: Reading) -> Found | NoValue | None:
        """Return the matching series of a reading; None if it has series, but none matches."""
        found = self._page.series(reading)
        if found is None or isinstance(found, NoValue):
            return found
        keys = [*found.series, *found.doubts]
        if (too_many := self._too_many(reading, keys)) is not None:
            return too_many
        matching, missing = self._matching(reading, keys)
        if matching or not keys:
            return Found(
                {key: values for key, values in found.series.items() if key in matching},
                {key: why for key, why in found.doubts.items() if key in matching},
            )
        if not missing:
            self.left_out = Excluded()
        elif self.left_out is None:
            self.left_out = Unlabelled(
                f"has rows of {reading.rows}, but none with the label {missing}"
            )
        return None

    def searching(self, readings: Iterable[Reading]) -> Iterator[None]:
        """Search readings until a series matches, one series at each step; `series` is quick then.

        On the event loop the steps are taken in turns.
        """
        for reading in readings:
            found = self._page.series(reading)
            if isinstance(found, Found):
                keys = [*found.series, *found.doubts]
                if self._too_many(reading, keys) is None:
                    yield from self._searching(reading, keys)
                    if self._searched[reading][0]:
                        return

    def _too_many(self, reading: Reading, keys: Sequence[Key]) -> NoValue | None:
        if len(keys) > _MAX_SEARCHED:
            return NoValue(
                f"has {len(keys)} rows of {reading.rows}, of which at most {_MAX_SEARCHED} can be "
                "searched for labels: select some of them with the reading's where"
            )
        compared = _COMPARISON * len(self._matcher.selector.requirements)
        if sum(len(labels) + compared for labels, _ in keys) > _MAX_LABELS:
            return NoValue(
                f"has {len(keys)} rows of {reading.rows}, too many to be searched for so many "
                "labels: select by fewer labels, or some of the rows with the reading's where"
            )
        return None

    def _matching(self, reading: Reading, keys: Iterable[Key]) -> tuple[set[Key], str]:
        """Return the keys that match, and a label that a match needs but no key has."""
        if reading not in self._searched:
            for _ in self._searching(reading, keys):
                pass
        return self._searched[reading]

    def _searching(self, reading: Reading, keys: Iterable[Key]) -> Iterator[None]:
        """Search the keys of a reading, one at each step."""
        missing = [one.label for one in self._matcher.selector.requirements if one.needs_label]
        matching: set[Key] = set()
        for key in keys:
            labels = dict(key[0])
            if self._matcher.matches(labels):
                matching.add(key)
            if missing:
                missing = [label for label in missing if not labels.get(label)]
            yield
        self._searched[reading] = matching, missing[0] if missing else ""
