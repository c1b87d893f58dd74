"""The state that all connections share: places, and a budget of bytes."""

import asyncio
from typing import Protocol

import structlog

from metrics_server.http.limits import Limits
from metrics_server.http.places import Places
from metrics_server.telemetry.metrics import Dropped, Monitor
from metrics_server.telemetry.sparing import SparingLog


class Holder(Protocol):
    """A connection that holds bytes."""

    @property
    def is_verified(self) -> bool:
        """Whether its peer is verified; others are dropped first."""
        ...

    def give_up(self) -> None:
        """Release the bytes, and close."""
        ...


class Budget:
    """Counts bytes of one kind; when they run out, the connection that holds the most is dropped.

    Args:
        limit: how many bytes may be in use.

    Attributes:
        used: how many are in use.
    """

    def __init__(self, limit: int) -> None:
        self.used = 0
        self._limit = limit
        self._held: dict[Holder, int] = {}

    def take(self, holder: Holder, count: int) -> None:
        """A connection holds more bytes; it, or another, may be dropped for that."""
        self._held[holder] = self._held.get(holder, 0) + count
        self.used += count
        while self.used > self._limit:
            largest = max(self._held, key=lambda one: (not one.is_verified, self._held[one]))
            self.release(largest)
            largest.give_up()

    def release(self, holder: Holder) -> None:
        """A connection holds no more bytes."""
        self.used -= self._held.pop(holder, 0)


class Commons:
    """The state that all connections of a server share.

    Args:
        limits: of each connection, and of all together.
        monitor: counts the connections that are dropped.
        stopping: set when the server is about to stop.

    Attributes:
        limits: as given.
        stopping: as given.
        places: of all connections.
        heads: bytes of the heads of requests.
        answers: bytes of answers that clients have not read.
        log: for events that any client can cause.
    """

    def __init__(self, limits: Limits, monitor: Monitor | None, stopping: asyncio.Event) -> None:
        self.limits = limits
        self.stopping = stopping
        self.places = Places(
            unverified=limits.unverified, per_peer=limits.per_peer, verified=limits.verified
        )
        self.heads = Budget(limits.heads)
        self.answers = Budget(limits.answers)
        self.log = SparingLog(structlog.stdlib.get_logger(__name__))
        self._monitor = monitor

    def drop(self, why: Dropped, peer: str) -> None:
        """Count a connection that is dropped, and log it."""
        self.log.info("connection dropped", peer=peer, reason=why)
        if self._monitor is not None:
            self._monitor.dropped(why)
