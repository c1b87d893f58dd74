"""What a reflector reports of its contact with the Kubernetes API: once, however often it tries."""

from collections.abc import Callable

from structlog.stdlib import BoundLogger

from metrics_server.errors import KubernetesError

# An API that breaks every watch after a while is reported as often as this, and not at each watch.
_QUIET_SECONDS = 600


class Contact:
    """Logs when contact is lost and when it is back.

    Args:
        log: where to.
        clock: seconds, from any start.

    Attributes:
        last_error: what went wrong last, as a sentence; None while all is well.
    """

    def __init__(self, log: BoundLogger, clock: Callable[[], float]) -> None:
        self.last_error: str | None = None
        self._log = log
        self._clock = clock
        self._quiet_until: float | None = None

    def lost(self, error: KubernetesError) -> None:
        """Something went wrong."""
        if self.last_error is None:
            now = self._clock()
            if self._quiet_until is None or now >= self._quiet_until:
                self._log.warning("lost contact", error=str(error), code=error.code)
                self._quiet_until = now + _QUIET_SECONDS
            else:
                self._log.info("lost contact again", error=str(error), code=error.code)
        self.last_error = str(error)

    def regained(self) -> None:
        """All is well."""
        if self.last_error is not None:
            self._log.info("in contact again")
        self.last_error = None
