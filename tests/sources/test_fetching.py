"""Anything may answer at an exporter's address: bytes on real sockets."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from metrics_server.errors import ScrapeError
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.fetching import PageLimits
from metrics_server.sources.pages.scraper import Scraper
from metrics_server.telemetry.metrics import Monitor
from tests.support.waiting import eventually

PAGE = b'DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",namespace="n",pod="p"} 42\n'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
LIMITS = PageLimits(bytes=200_000, lines=1000)


@asynccontextmanager
async def raw_exporter(response: bytes, requests: list[bytes] | None = None) -> AsyncIterator[str]:
    """An exporter that sends these bytes to any request, and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(asked)
        writer.write(response)
        try:
            await writer.drain()
        except ConnectionError:
            return
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"


async def scraped(monitor: Monitor, response: bytes) -> Page | ScrapeError:
    """The outcome of one scrape of an exporter that sends these bytes."""
    async with (
        raw_exporter(response) as url,
        Scraper(
            Page, timeout=5, max_age=60, max_concurrency=8, limits=LIMITS, monitor=monitor
        ) as scraper,
    ):
        return (await scraper.scrape([url])).outcomes[url]


async def failure(monitor: Monitor, response: bytes) -> ScrapeError:
    """The error of that scrape."""
    outcome = await scraped(monitor, response)
    assert isinstance(outcome, ScrapeError)
    return outcome


def with_length(body: bytes, head: bytes = OK) -> bytes:
    """A complete response."""
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes) -> bytes:
    """The same in one chunk."""
    return OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("response", [with_length(PAGE), chunked(PAGE)], ids=["length", "chunked"])
async def test_whole(monitor: Monitor, response: bytes) -> None:
    """A page is complete according to its length or its chunks."""
    outcome = await scraped(monitor, response)
    assert isinstance(outcome, Page)
    assert (outcome.body, outcome.lines) == (PAGE, 1)


@pytest.mark.parametrize(
    "response",
    [
        OK + b"Content-Length: 500\r\n\r\n" + PAGE,
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nDCGM_\r\n",
        with_length(PAGE[:-2]),
        OK + b"Connection: close\r\n\r\n" + PAGE,
        OK.replace(b"1.1", b"1.0") + b"\r\n" + PAGE,
        OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(PAGE), PAGE),
    ],
    ids=["length", "chunks", "last line", "until closed", "HTTP/1.0", "chunks at a line's end"],
)
async def test_cut_short(monitor: Monitor, response: bytes) -> None:
    """A page that may be incomplete is a failure: the missing part may be the pod's."""
    assert (await failure(monitor, response)).reason == "cut-short"


async def test_compressed(monitor: Monitor) -> None:
    """Compressed pages are not requested: they could be cut, or be a bomb."""
    requests: list[bytes] = []
    packed = gzip.compress(PAGE * 2)
    response = with_length(packed, OK + b"Content-Encoding: gzip\r\n")
    async with (
        raw_exporter(response, requests) as url,
        Scraper(Page, timeout=5, max_age=60, max_concurrency=8, monitor=monitor) as scraper,
    ):
        outcome = (await scraper.scrape([url])).outcomes[url]
    assert str(outcome) == "sent a compressed page (gzip)"
    assert b"\r\naccept-encoding: identity\r\n" in requests[0].lower()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"# x" * 70_000 + b"\n", "sent more than 200000 bytes (exporters.maxPageBytes)"),
        (b"x 1\n" * 1001, "sent more than 1000 lines (exporters.maxPageLines)"),
        (b"#" * 65_536 + b"\n", "sent a line of more than 65536 bytes"),
        (PAGE + b"#" * 65_536 + b"\n" + PAGE, "sent a line of more than 65536 bytes"),
    ],
)
async def test_too_large(monitor: Monitor, body: bytes, message: str) -> None:
    """A page is limited in bytes, lines, and bytes per line."""
    error = await failure(monitor, with_length(body))
    assert (error.reason, str(error)) == ("too-large", message)


@pytest.mark.parametrize(
    "body",
    [
        (b"#" * 999 + b"\n") * 200,
        b"x 1\n" * 1000,
        b"#" * 65_535 + b"\n",
        PAGE + (b"#" * 65_535 + b"\n") * 2 + PAGE,
    ],
    ids=["bytes", "lines", "line", "among others"],
)
async def test_just_not_too_large(monitor: Monitor, body: bytes) -> None:
    """The limits are exact."""
    outcome = await scraped(monitor, with_length(body))
    assert isinstance(outcome, Page)
    assert outcome.body == body


@pytest.mark.parametrize(
    ("response", "reason", "message"),
    [
        (b"", "unreachable", "closed the connection without answering"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not-http", "did not send valid HTTP: it does not begin with"),
        (b"HTTP/1.1 two hundred\r\n", "not-http", "did not send valid HTTP: "),
        (b"\x16\x03\x01\x1b]0;owned\x07\r\n\r\n", "not-http", "did not send valid HTTP: "),
        (b"x" * 60_000 + b"\r\n\r\n", "not-http", "did not send valid HTTP: "),
        (
            OK.replace(b"text/plain", b"text/\x1b[31mhtml") + b"\r\n",
            "not-http",
            "did not send valid HTTP: Invalid header value char",
        ),
        (
            OK.replace(b"text/plain", b"text/\xe9" + b"html" * 1500) + b"\r\n",
            "not-text",
            "sent text/éhtmlhtmlhtmlhtmlhtmlhtmlhtmlhtmlhtmlhtmlhtmlhtmlhtmlh…, not text/plain",
        ),
        (
            with_length(PAGE, OK + b"Content-Encoding: " + b"br" * 3000 + b"\r\n"),
            "not-text",
            "sent a compressed page (brbr",
        ),
        (
            b"HTTP/1.1 500 \x1b[31mfire" + b"!" * 6000 + b"\r\n\r\n",
            "http-status",
            "answered HTTP 5",
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\n" * 2000,
            "not-http",
            "did not send valid HTTP: its head has more than 32768 bytes",
        ),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "not-http", "did not send valid HTTP: "),
        (
            with_length(PAGE) + PAGE,
            "not-http",
            "did not send valid HTTP: it is longer than it says",
        ),
    ],
)
async def test_what_answers_is_described_briefly(
    monitor: Monitor, response: bytes, reason: str, message: str
) -> None:
    """One printable line describes any answer, without a status that was not sent."""
    with capture_logs() as logs:
        error = await failure(monitor, response)
    assert str(error).startswith(message)
    assert error.reason == reason
    assert "400" not in str(error)
    for text in (str(error), str(logs[0]["error"])):
        assert text.isprintable()
        assert len(text) <= 200


async def test_a_few_interim_responses_are_passed_over(monitor: Monitor) -> None:
    """HTTP allows them."""
    outcome = await scraped(monitor, b"HTTP/1.1 100 Continue\r\n\r\n" * 4 + with_length(PAGE))
    assert isinstance(outcome, Page)


async def test_a_kept_connection_has_the_same_bounds(monitor: Monitor) -> None:
    """Endless interim responses have the same limit at the second request as at the first."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(with_length(PAGE))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 50_000)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
    async with (
        server,
        Scraper(Page, timeout=5, max_age=1e-9, max_concurrency=1, monitor=monitor) as scraper,
    ):

        async def scrape() -> Page | ScrapeError:
            return (await scraper.scrape([url])).outcomes[url]

        assert isinstance(await scrape(), Page)
        error = await eventually(scrape, lambda outcome: isinstance(outcome, ScrapeError))
    assert "its head has more than" in str(error)


@pytest.mark.parametrize(
    "part",
    [b"HTTP/1.1 100 Continue\r\n\r\n", OK, OK + b"Content-Length: 500\r\n\r\n" + PAGE],
    ids=["before the head", "in the head", "in the body"],
)
async def test_the_deadline_is_hard(monitor: Monitor, part: bytes) -> None:
    """Whatever has been received, a scrape ends at its timeout."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(part)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
    async with (
        server,
        Scraper(Page, timeout=0.2, max_age=60, max_concurrency=1, monitor=monitor) as scraper,
    ):
        outcome = (await scraper.scrape([url])).outcomes[url]
    assert str(outcome) == "did not answer within 0.2 s"
