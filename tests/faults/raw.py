"""Servers that talk over bare sockets, and what a fault may leave behind."""

import asyncio
import logging
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest
from msgspec import Struct
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.support.waiting import eventually

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_GONE = (OSError, asyncio.IncompleteReadError)
_WARNINGS = ("warning", "error", "critical")


class RawServer:
    """Does whatever a test says with each connection. An asynchronous context manager.

    Args:
        talk: what it does with a connection, which is closed afterwards.
        context: serves TLS with it; None serves none.

    Attributes:
        port: where it listens; the same after a stop.
    """

    def __init__(self, talk: Talk, context: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._talk = talk
        self._context = context
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, where it does not."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, ssl=self._context
            )
            self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Refuse connections from now on, and end those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """End every connection."""
        tasks = list(self._connections)
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(*_GONE):
                await self._talk(reader, writer)
        finally:
            writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a peer does that is killed: by a TCP reset."""
    connection = writer.get_extra_info("socket")
    if connection is not None:  # the peer may have closed it
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Census(Struct, frozen=True):
    """What this process has open: the server, and all that is simulated around it."""

    tasks: int
    descriptors: int


async def census() -> Census:
    """What there is now."""
    return Census(len(asyncio.all_tasks()), _descriptors())


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def settled(before: Census) -> None:
    """Wait until there is no more than there was."""
    await eventually(
        census,
        lambda now: now.tasks <= before.tasks and now.descriptors <= before.descriptors,
    )


class Log:
    """All that is logged, by the server and by the libraries below it."""

    def __init__(self, own: list[EventDict], foreign: pytest.LogCaptureFixture) -> None:
        self._own = own
        self._foreign = foreign

    def clear(self) -> None:
        """Forget what was logged so far."""
        self._own.clear()
        self._foreign.clear()

    def warnings(self) -> list[str]:
        """The events of level warning and above, in order; first those of the server itself."""
        own = [str(one["event"]) for one in self._own if one["log_level"] in _WARNINGS]
        records = self._foreign.records
        return own + [one.getMessage() for one in records if one.levelno >= logging.WARNING]

    def by_path(self, event: str) -> Counter[str]:
        """How many lines of one event there are, by what is watched."""
        return Counter(str(one["path"]) for one in self.lines(event))

    def lines(self, event: str) -> list[EventDict]:
        """The lines of one event."""
        return [one for one in self._own if one["event"] == event]


@contextmanager
def logged(foreign: pytest.LogCaptureFixture) -> Iterator[Log]:
    """What is logged meanwhile."""
    foreign.clear()
    with capture_logs() as own:
        yield Log(own, foreign)
