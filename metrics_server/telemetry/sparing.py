"""A log for events that anybody can cause: rate-limited per peer and in total."""

import time
from collections.abc import Callable

from structlog.stdlib import BoundLogger

from metrics_server.common.rates import Rate, Rates
from metrics_server.common.text import printable

_EACH = Rate(per_second=10 / 60, burst=10)
_TOTAL = Rate(per_second=1, burst=60)
_MAX_CHARACTERS = 256


class SparingLog:
    """Writes a line unless there were too many; the next one says how many were dropped.

    Args:
        log: where lines go.
        clock: seconds that never run backwards.
    """

    def __init__(self, log: BoundLogger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._rates = Rates(each=_EACH, total=_TOTAL, clock=clock)
        self._left_out = 0

    def info(self, event: str, *, peer: str, **values: str | int | None) -> None:
        """Log an event caused by a peer at level info; values are escaped and truncated."""
        if self._counts(peer):
            self._log.info(event, peer=peer, **self._with_left_out(values))

    def warning(self, event: str, *, peer: str, **values: str | int | None) -> None:
        """Log an event caused by a peer at level warning; values are escaped and truncated."""
        if self._counts(peer):
            self._log.warning(event, peer=peer, **self._with_left_out(values))

    def exception(self, event: str, *, peer: str, **values: str | int | None) -> None:
        """Log the exception being handled; values are escaped and truncated."""
        if self._counts(peer):
            self._log.exception(event, peer=peer, **self._with_left_out(values))

    def _counts(self, peer: str) -> bool:
        if self._rates.allow(peer):
            return True
        self._left_out += 1
        return False

    def _with_left_out(self, values: dict[str, str | int | None]) -> dict[str, str | int | None]:
        shown = {
            name: printable(value, _MAX_CHARACTERS) if isinstance(value, str) else value
            for name, value in values.items()
        }
        if self._left_out:
            shown["left_out"], self._left_out = self._left_out, 0
        return shown
