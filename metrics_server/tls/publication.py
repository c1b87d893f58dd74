"""Publishes the CA bundle in one place, whatever happens in the others."""

from collections.abc import Callable
from http import HTTPStatus

import structlog

from metrics_server.common.outages import Outage
from metrics_server.errors import KubernetesError
from metrics_server.kube.events import Events
from metrics_server.tls.bundle import Place
from metrics_server.tls.contest import Contest
from metrics_server.tls.places import BundlePlace, NoPlaceError, StoredBundle

# We may not write it: someone has to fix that.
_REFUSED = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY})

log = structlog.stdlib.get_logger(__name__)


class Publication:
    """The bundle in one place, and what keeps it from being published there.

    Args:
        where: the place.
        events: emits an event on its object when another writer replaces the bundle.
        rand: returns a number in [0, 1).
        clock: seconds that never run backwards.

    Attributes:
        place: the place as last seen; None if no client reads our bundle there.
    """

    def __init__(
        self,
        where: BundlePlace,
        *,
        events: Events,
        rand: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self.place: Place | None = None
        self._where = where
        self._events = events
        self._log = log.bind(**where.log_values)
        self._contest = Contest(rand=rand, clock=clock)
        self._unpublished = Outage(
            self._log,
            "CA bundle not published",
            "CA bundle can be published again",
            each_error=True,
        )
        self._overwritten = Outage(
            self._log,
            "CA bundle overwritten",
            "CA bundle no longer overwritten",
            each_error=True,
        )
        self._stored: StoredBundle | None = None
        self._is_missed = False
        self._is_failing = False

    @property
    def problem(self) -> str | None:
        """Why clients cannot rely on the bundle there, as a sentence; None if they can."""
        return self._overwritten.error or self._unpublished.error

    async def look(self) -> None:
        """Read what is there.

        Raises:
            KubernetesError: the Kubernetes API cannot say.
        """
        try:
            stored = await self._where.read()
        except NoPlaceError as error:
            self._leave(error)
            return
        except KubernetesError as error:
            if error.code not in _REFUSED:
                raise
            self._refuse(error)
            return
        self._is_missed = False
        if self._stored is None or self._stored.regarding != stored.regarding:
            self._contest.left()
        self._stored = stored
        if self._contest.saw(stored.bundle):
            await self._report(stored)
        elif not self._contest.is_on:
            self._overwritten.recovered()
        is_ours_to_write = not self._contest.is_on or self._contest.may_write
        self.place = Place(
            stored.bundle if is_ours_to_write else None,
            is_reliable=not (self._contest.is_on or self._is_failing),
        )

    async def publish(self, bundle: bytes) -> bool:
        """Write a bundle if another is there; return whether to go on with this place for now.

        Raises:
            KubernetesError: it failed, and trying again may help.
        """
        if self._stored is None or self.place is None or self.place.bundle in (None, bundle):
            return True
        try:
            await self._where.write(self._stored, bundle)
        except NoPlaceError as error:
            self._is_failing = True
            self._leave(error)
            return False
        except KubernetesError as error:
            if error.code == HTTPStatus.CONFLICT:  # another replica was first
                return True
            self._is_failing = True
            self.place = Place(None)
            if error.code not in _REFUSED:
                raise
            self._refuse(error)
            return False
        self._is_failing = False
        self._contest.wrote(self._stored.bundle)
        self._log.info("CA bundle published")
        return True

    def rest(self) -> None:
        """Note that the bundle is up to date, unless it could not be written."""
        if self.place is not None and self.place.bundle is not None:
            self._is_failing = False
            self._unpublished.recovered()

    def _leave(self, error: NoPlaceError) -> None:
        self.place = self._stored = None
        self._contest.left()
        self._overwritten.recovered()
        if not error.is_normal:
            self._unpublished.failed(error)
            return
        self._unpublished.recovered()
        if not self._is_missed:
            self._log.info("no APIService to publish the CA bundle in")
        self._is_missed = True

    def _refuse(self, error: KubernetesError) -> None:
        self.place = Place(None)
        self._unpublished.failed(error)

    async def _report(self, stored: StoredBundle) -> None:
        writer = stored.writer
        message = f"{writer.name} overwrites {self._where.name}, {self._where.advice(writer)}"
        self._overwritten.failed(message, by=writer.name, at=writer.time)
        await self._events.warn(stored.regarding, "CABundleOverwritten", message)
