"""Outages in the log: one line when something starts to fail, and one when it recovers."""

import time
from collections.abc import Callable

from cachetools import LRUCache
from structlog.stdlib import BoundLogger

_MAX_FAILING = 10_000


class Outage:
    """Whether something works; logged when that changes, not at every attempt.

    Args:
        log: where to.
        failing: the event of the warning when it starts to fail.
        recovered: the event when it works again.
        each_error: whether a failure with another error is logged again. Not for errors that
            differ between attempts, such as those that name a caller.
        quiet: for how many seconds after a warning another outage is logged at level info only.
        clock: seconds that never run backwards.

    Attributes:
        error: why it does not work, for health checks; None while it does.
    """

    def __init__(
        self,
        log: BoundLogger,
        failing: str,
        recovered: str,
        *,
        each_error: bool = False,
        quiet: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.error: str | None = None
        self._log = log
        self._failing = failing
        self._recovered = recovered
        self._each_error = each_error
        self._quiet = quiet
        self._clock = clock
        self._quiet_until: float | None = None

    def failed(self, error: object, **values: object) -> bool:
        """It does not work; return whether that was new, and logged.

        Args:
            error: why, as a sentence.
            values: logged with it.
        """
        why = str(error)
        is_news = self.error is None or (self._each_error and why != self.error)
        self.error = why
        if is_news:
            now = self._clock()
            if self._quiet_until is None or now >= self._quiet_until:
                self._log.warning(self._failing, error=why, **values)
                self._quiet_until = now + self._quiet
            else:
                self._log.info(f"{self._failing} again", error=why, **values)
        return is_news

    def recovered(self) -> None:
        """It works."""
        if self.error is not None:
            self._log.info(self._recovered)
        self.error = None


class Outages:
    """The same for several things of a kind, by name.

    Args:
        log: where to.
        failing: as for `Outage`.
        recovered: as for `Outage`.
        key: the log key of a thing's name.
        each_error: as for `Outage`.
        most: how many failing ones are remembered; the least recently failed is forgotten first.
    """

    def __init__(
        self,
        log: BoundLogger,
        failing: str,
        recovered: str,
        *,
        key: str,
        each_error: bool = False,
        most: int = _MAX_FAILING,
    ) -> None:
        self._log = log
        self._failing = failing
        self._recovered = recovered
        self._key = key
        self._each_error = each_error
        self._outages: LRUCache[str, Outage] = LRUCache(most)

    def failed(self, name: str, error: object, **values: object) -> bool:
        """One of them does not work; return whether that was new, and logged."""
        outage = self._outages.get(name)
        if outage is None:
            outage = self._outages[name] = Outage(
                self._log.bind(**{self._key: name}),
                self._failing,
                self._recovered,
                each_error=self._each_error,
            )
        return outage.failed(error, **values)

    def recovered(self, name: str) -> None:
        """One of them works."""
        outage = self._outages.pop(name, None)
        if outage is not None:
            outage.recovered()
