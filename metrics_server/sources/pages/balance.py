"""Counts the scrapes that reading ahead adds, and stops it before it adds many (pure).

On demand, a page is scraped when a request needs it, unless it was scraped within `max_age`. The
scrapes that would happen are therefore known, whatever is read ahead.
"""

# How many scrapes reading ahead may add: a few in total, and this share of those on demand.
_MOST = 100
_PART = 0.02
# The weight of the past is halved after this many scrapes.
_MEMORY = 20_000


class Balance:
    """The actual scrapes, and those that would happen on demand.

    Args:
        max_age: how long a scrape is reused, in seconds.
    """

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age
        self._begun = 0.0
        self._on_demand = 0.0
        # Read ahead, and not needed yet.
        self._unneeded: set[str] = set()
        # When each page would have been scraped: recently, and in the `max_age` before.
        self._lately: dict[str, float] = {}
        self._before: dict[str, float] = {}
        self._since = float("-inf")

    @property
    def added(self) -> float:
        """How many scrapes reading ahead has added so far."""
        return self._begun - len(self._unneeded) - self._on_demand

    def allows_more(self) -> bool:
        """Whether pages may be read ahead."""
        return self.added <= _MOST + _PART * self._on_demand

    def begin(self, target: str, *, is_ahead: bool) -> None:
        """Count a scrape that begins."""
        self._begun += 1
        if is_ahead:
            self._unneeded.add(target)

    def need(self, target: str, now: float) -> None:
        """Count a request for a page."""
        self._unneeded.discard(target)
        if now >= self._since + self._max_age:
            is_next = now < self._since + 2 * self._max_age
            self._before = self._lately if is_next else {}
            self._lately, self._since = {}, now
        at = self._lately.get(target)
        if at is None:
            at = self._before.get(target)
        if at is None or now >= at + self._max_age:
            self._lately[target] = now
            self._on_demand += 1
            if self._on_demand > _MEMORY:
                self._begun /= 2
                self._on_demand /= 2

    def drop(self, target: str) -> None:
        """Note that a page is no longer kept."""
        self._unneeded.discard(target)
