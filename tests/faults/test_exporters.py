"""Each way in which an exporter can fail, through a whole server: what it costs, and its end."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from msgspec import Struct

from metrics_server.simulator import manifests
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES
from tests.faults.raw import Census, Log, RawServer, census, logged, reset, settled
from tests.support.harness import Answer, Cluster, cluster, configuration, eventually, page, pod

pytestmark = pytest.mark.slow

ASKED = 3
"""How often an HPA asks while the fault lasts."""

BEFORE = page({("default", "a"): [20], ("default", "b"): [80]}).encode()
AFTER = page({("default", "a"): [40], ("default", "b"): [80]}).encode()
# As much of the page as has the first pod in it, and ends where a line does.
PART = BEFORE[: BEFORE.index(b"\n", BEFORE.index(b'pod="a"')) + 1]


Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Exporter(RawServer):
    """An exporter with connections that are kept, and with a fault where a test sets one.

    Attributes:
        page: what it serves while it is well.
        behave: what it does with a request instead; None while it is well.
        asked: the paths it was asked for.
    """

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.page = BEFORE
        self.behave: Behave | None = None
        self.asked: list[str] = []

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split()[1].decode())
            if self.behave is not None:
                await self.behave(reader, writer)
                return
            writer.write(response(self.page))
            await writer.drain()


def response(body: bytes, *, length: int | None = None, headers: bytes = b"") -> bytes:
    """A response; its Content-Length may be another than that of the body."""
    told = len(body) if length is None else length
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        + headers
        + b"Content-Length: %d\r\n\r\n" % told
        + body
    )


def sends(data: bytes) -> Behave:
    """Sends these bytes, and closes."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return behave


def hangs_after(data: bytes) -> Behave:
    """Sends these bytes, and then nothing more."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await reader.read()

    return behave


def resets_after(data: bytes) -> Behave:
    """Sends these bytes, and resets the connection."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        reset(writer)

    return behave


async def drips(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends its page a byte at a time, for longer than a scrape may take."""
    for byte in response(BEFORE):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.005)


async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends rows without end."""
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    while True:
        writer.write(b"%x\r\n%s\r\n" % (100 * len(BEFORE), 100 * BEFORE))
        await writer.drain()


# Logged for each question that has no measurement.
MISSING = "Failed to get real metrics"


class Fault(Struct, frozen=True):
    """A fault of an exporter, and what it costs.

    Attributes:
        id: a short name.
        fault: what the exporter does.
        answer: what the HPA gets: the message of the 503, after "0 of 2 pods have a measurement: "
            and with URL in place of the exporter's.
        behave: does it; None for an exporter that refuses connections.
        logged: the warnings that it costs, however often it is asked, besides one line for each
            question that has no measurement.
    """

    id: str
    fault: str
    answer: str
    behave: Behave | None
    logged: tuple[str, ...] = ("scrape failed",)


LATE = "exporter URL did not answer within 0.2 s"
SHORT = "exporter URL cut its page short"
NOT_HTTP = "exporter URL did not send valid HTTP: Bad status line"

FAULTS = (
    Fault(
        "refusing",
        "refuses connections",
        "exporter URL could not be reached: Connection refused",
        None,
    ),
    Fault("hanging", "accepts, and never answers", LATE, hangs_after(b"")),
    Fault(
        "hanging-head",
        "stops in the middle of the head",
        LATE,
        hangs_after(b"HTTP/1.1 200 OK\r\nContent-"),
    ),
    Fault(
        "hanging-body",
        "stops in the middle of the page",
        LATE,
        hangs_after(response(PART, length=len(BEFORE))),
    ),
    Fault("dripping", "sends a byte at a time, for longer than the timeout", LATE, drips),
    Fault(
        "closing",
        "closes the connection without an answer",
        "exporter URL closed the connection without answering",
        sends(b""),
    ),
    Fault(
        "resetting-head",
        "resets the connection in place of an answer",
        "exporter URL could not be reached: Connection reset by peer",
        resets_after(b""),
    ),
    Fault(
        "resetting-body",
        "resets the connection in the middle of the page",
        SHORT,
        resets_after(response(PART, length=len(BEFORE))),
    ),
    Fault(
        "redirecting",
        "redirects to another page",
        "exporter URL answered HTTP 302",
        sends(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"),
    ),
    Fault(
        "failing",
        "answers 500, with a page",
        "exporter URL answered HTTP 500",
        sends(response(BEFORE).replace(b"200 OK", b"500 Oops")),
    ),
    Fault(
        "length-too-long",
        "announces a longer page than it sends, and closes",
        SHORT,
        sends(response(BEFORE, length=len(BEFORE) + 100)),
    ),
    Fault(
        "length-too-long-open",
        "announces a longer page than it sends, and keeps the connection",
        LATE,
        hangs_after(response(BEFORE, length=len(BEFORE) + 100)),
    ),
    Fault(
        "length-too-short",
        "announces a shorter page than it sends, which ends within a row",
        NOT_HTTP,
        sends(response(BEFORE, length=len(PART) + 10)),
    ),
    Fault(
        "length-too-short-line",
        "announces a shorter page than it sends, which ends with a row",
        NOT_HTTP,
        sends(response(BEFORE, length=len(PART))),
    ),
    Fault(
        "length-of-none",
        "announces an empty page, and sends one",
        NOT_HTTP,
        sends(response(BEFORE, length=0)),
    ),
    Fault(
        "without-length",
        "sends a page that ends where the connection does",
        "exporter URL sent a page without a length, so that a part of it would pass for the whole",
        sends(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + PART),
    ),
    Fault(
        "compressed",
        "compresses its page, though asked not to",
        "exporter URL sent a compressed page (gzip)",
        sends(response(gzip.compress(BEFORE), headers=b"Content-Encoding: gzip\r\n")),
    ),
    Fault(
        "compressed-secretly",
        "compresses its page, and does not say so",
        "exporter URL sent bytes that are not text",
        sends(response(gzip.compress(BEFORE))),
    ),
    Fault(
        "huge",
        "sends a page without end",
        "exporter URL sent more than 65536 bytes (exporters.maxPageBytes)",
        floods,
    ),
    Fault(
        "many-lines",
        "sends more lines than a page may have",
        "exporter URL sent more than 500 lines (exporters.maxPageLines)",
        sends(response(b"x 1\n" * 501)),
    ),
    Fault(
        "not-http",
        "sends what is not HTTP",
        NOT_HTTP,
        sends(b"\x15\x03\x01\x00\x02\x02\x16" * 10),
    ),
    Fault(
        "web-page",
        "sends a page of HTML",
        "exporter URL sent text/html, not text/plain",
        sends(response(b"<html>\n").replace(b"text/plain", b"text/html")),
    ),
    Fault(
        "garbage",
        "sends a page of bytes that are not text",
        "exporter URL sent bytes that are not text",
        sends(response(bytes(range(256)) * 20 + b"\n")),
    ),
    Fault(
        "garbage-text",
        "sends a page of text that has no metrics",
        "the exporters answered but gave no value for pod a, pod b",
        sends(response(b"it works\n" * 20)),
        logged=(),
    ),
    Fault(
        "garbage-values",
        "sends the rows with values that are no percentages",
        "the exporters answered but gave no value for pod a, pod b",
        sends(response(page({("default", "a"): [150], ("default", "b"): [-5]}).encode())),
        logged=(),
    ),
)


@dataclass(frozen=True)
class Scene:
    """A server, and the one exporter that it scrapes.

    Attributes:
        simulated: the cluster.
        exporter: of its node, with two pods.
        log: what is logged.
        census: what there was open when all was well.
    """

    simulated: Cluster
    exporter: Exporter
    log: Log
    census: Census

    async def ask(self) -> Answer:
        """The answer to the HPA's question."""
        return await _ask(self.simulated)


async def _ask(simulated: Cluster) -> Answer:
    return await simulated.client.metric("default", "gpu_utilization", "app=inference")


def is_value(value: str) -> Callable[[Answer], bool]:
    """Whether an answer has this value."""
    return lambda answer: answer.status == 200 and answer.item().value == value


@asynccontextmanager
async def scene(fault: Fault, foreign: pytest.LogCaptureFixture) -> AsyncIterator[Scene]:
    """A server whose answers are right, and which waits only where that is what is tested."""
    exporters = {
        "timeout": "200ms" if fault.answer == LATE else "10s",
        "maxAge": "1ms",
        "maxPageBytes": 65536,
        "maxPageLines": 500,
    }
    async with (
        Exporter() as exporter,
        cluster({}, [pod("a"), pod("b")], configuration({"exporters": exporters})) as simulated,
    ):
        simulated.api.apply(ENDPOINT_SLICES, manifests.endpoint_slice("gpu-0", exporter.port))
        await eventually(lambda: _ask(simulated), is_value("50"))
        before = await census()
        with logged(foreign) as log:
            yield Scene(simulated, exporter, log, before)


async def begin(fault: Fault, exporter: Exporter) -> None:
    """Let a fault begin."""
    if fault.behave is None:
        await exporter.stop()
    exporter.behave = fault.behave
    exporter.page = AFTER
    exporter.asked.clear()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.id))
async def test_exporter(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    """The HPA gets the reason and no number; it costs few lines, and leaves nothing behind."""
    async with scene(fault, caplog) as here:
        url = f"http://127.0.0.1:{here.exporter.port}/metrics"
        await begin(fault, here.exporter)
        for _ in range(ASKED):
            status = (await here.ask()).error()
            told = status.message.replace(url, "URL")
            assert (status.code, status.reason) == (503, "ServiceUnavailable")
            assert told.startswith(f"0 of 2 pods have a measurement: {fault.answer}"), told
        # Each question had a scrape of its own, sent again at most once, on another connection.
        assert set(here.exporter.asked) <= {"/metrics"}
        if fault.behave is not None:
            assert ASKED <= len(here.exporter.asked) <= 2 * ASKED
        assert len(here.log.lines(MISSING)) == ASKED
        here.exporter.behave = None
        await here.exporter.start()
        answer = await eventually(here.ask, lambda answer: answer.status == 200)
        assert answer.item().value == "60"
        assert answer.item().metric_labels["pods"] == "2/2"
        warnings = [event for event in here.log.warnings() if event != MISSING]
        assert warnings == list(fault.logged)
        assert len(here.log.lines("exporter recovered")) == len(fault.logged)
        await settled(here.census)
