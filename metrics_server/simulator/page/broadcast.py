"""The stream of moments, as Server-Sent Events, for each page that is open."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

from metrics_server.simulator.page.wire import End, Moment, Past, Point, Setup, Verdict

MOST_STREAMS = 16
_POINTS = 240
_VERDICTS = 50
# Events waiting for one page; one that does not read them is dropped.
_MOST_UNREAD = 32

EventName = Literal["setup", "past", "moment", "end"]


class TooManyStreamsError(Exception):
    """The maximum number of streams is open."""


class Stream:
    """The events for one page.

    Attributes:
        dropped: whether the page read too slowly, and gets no more.
    """

    def __init__(self) -> None:
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_UNREAD)
        self.dropped = False

    def put(self, event: bytes | None) -> None:
        """Add an event; None ends the stream. Without room for it the stream is dropped."""
        if self._events.full():
            self.dropped = True
            while not self._events.empty():
                self._events.get_nowait()
            event = None
        self._events.put_nowait(event)

    async def events(self) -> AsyncIterator[bytes]:
        """Return the events, as they come, until the stream ends."""
        while (event := await self._events.get()) is not None:
            yield event


class Broadcast:
    """Sends each moment to all streams, and the recent past to a new one.

    Args:
        setup: what does not change.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._points: deque[Point] = deque(maxlen=_POINTS)
        self._verdicts: deque[Verdict] = deque(maxlen=_VERDICTS)
        self._moment: Moment | None = None
        self._streams: set[Stream] = set()

    @contextmanager
    def stream(self) -> Iterator[Stream]:
        """Return a new stream, which begins with the recent past.

        Raises:
            TooManyStreamsError: there are `MOST_STREAMS`.
        """
        if len(self._streams) >= MOST_STREAMS:
            raise TooManyStreamsError
        stream = Stream()
        past = Past(tuple(self._points), tuple(self._verdicts), self._moment)
        stream.put(b"retry: 1000\n\n" + _event("setup", self._setup) + _event("past", past))
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    def show(self, moment: Moment) -> None:
        """Send a moment to every stream, and drop those that do not read."""
        self._moment = moment
        self._points.append(moment.point)
        if moment.verdict.news:
            self._verdicts.append(moment.verdict)
        event = _event("moment", moment)
        for stream in tuple(self._streams):
            stream.put(event)
            if stream.dropped:
                self._streams.discard(stream)

    def end(self, end: End) -> None:
        """Send the end to every stream, and end it."""
        for stream in self._streams:
            stream.put(_event("end", end))
            stream.put(None)


def _event(name: EventName, data: Setup | Past | Moment | End) -> bytes:
    # JSON contains no line breaks.
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"
