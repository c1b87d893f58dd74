"""Whether another writer keeps replacing the CA bundle in one place, and when to write it again."""

import random
import time
from collections import deque
from collections.abc import Callable

from metrics_server.common.backoff import Backoff
from metrics_server.tls.bundle import is_own

# An operator writes again within milliseconds, or when it next compares: within minutes.
_CALM_SECONDS = 600.0
# A manifest without the field, applied once, is no contest; applied again, it is.
_DROPPED_SECONDS = 3600.0
_BACKOFF_BASE_SECONDS = 30.0
_BACKOFF_CAP_SECONDS = 300.0
_REMEMBERED = 8


class Contest:
    """The contest with another writer over the bundle in one place.

    It begins when another writer replaces our bundle, or removes it twice within an hour. It ends
    when ours has stayed there for ten minutes. A bundle of another replica is ours, too. The first
    time, ours is written back at once, and later after growing pauses, so that two writers do not
    keep overwriting each other.

    Args:
        rand: returns a number in [0, 1).
        clock: seconds that never run backwards.

    Attributes:
        is_on: whether there is such a contest.
    """

    def __init__(
        self,
        *,
        rand: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_on = False
        self._clock = clock
        self._backoff = Backoff(_BACKOFF_BASE_SECONDS, _BACKOFF_CAP_SECONDS, rand)
        self._write_at = 0.0
        # When ours was first found there; None if it is not.
        self._ours_since: float | None = None
        self._dropped_at: float | None = None
        # What ours was written over. No replica ever writes an older bundle over a newer one, so
        # one of these comes from another writer if it is there again, even if we once made it.
        self._replaced: deque[bytes] = deque(maxlen=_REMEMBERED)

    @property
    def may_write(self) -> bool:
        """Whether it is time to write the bundle again."""
        return self._write_at <= self._clock()

    def saw(self, bundle: bytes) -> bool:
        """Note the bundle that was found; return whether another writer has replaced ours."""
        now = self._clock()
        if is_own(bundle) and bundle not in self._replaced:
            if self._ours_since is None:
                self._ours_since = now
            elif self.is_on and now - self._ours_since >= _CALM_SECONDS:
                self._end()
            return False
        was_ours, self._ours_since = self._ours_since is not None, None
        if not was_ours:
            return False
        if not bundle and self._is_first_drop(now):
            return False
        if self.is_on:
            self._write_at = now + self._backoff.pause()
        self.is_on = True
        return True

    def wrote(self, over: bytes) -> None:
        """Note that ours was written over another bundle."""
        if over not in self._replaced:
            self._replaced.append(over)
        self._ours_since = self._clock()

    def left(self) -> None:
        """Note that the place is gone, or was replaced by another one of the same name."""
        self._ours_since = None
        self._replaced.clear()
        self._end()

    def _end(self) -> None:
        self.is_on = False
        self._write_at = 0.0
        self._backoff.reset()

    def _is_first_drop(self, now: float) -> bool:
        before, self._dropped_at = self._dropped_at, now
        return before is None or now - before > _DROPPED_SECONDS
