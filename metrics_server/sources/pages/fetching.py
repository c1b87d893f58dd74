"""Fetches a metrics page: the whole page, or an error with a readable message."""

from http import HTTPStatus

import aiohttp
from aiohttp import hdrs
from msgspec import Struct

from metrics_server import __version__
from metrics_server.common.text import printable
from metrics_server.errors import ScrapeError
from metrics_server.http.sockets import why
from metrics_server.sources.pages.access import Access, AccessKeeper
from metrics_server.sources.pages.connection import BoundedConnector
from metrics_server.sources.pages.room import PageRoom

# Far more than a GPU's labels with all labels of its pod. A line is parsed in one step.
_MOST_LINE_BYTES = 64 * 1024
_MIB = 1024 * 1024
# Of a header's value, so that the rest of the message is visible too.
_MOST_SHOWN = 60


class PageLimits(Struct, frozen=True):
    """The limits of a page.

    Attributes:
        bytes: how many bytes it may have.
        lines: how many lines it may have; they determine what a page costs.
        section: the section of the configuration that sets them, for messages.
    """

    bytes: int = 8 * _MIB
    lines: int = 25_000
    section: str = "exporters"


def exporter_session() -> aiohttp.ClientSession:
    """Return a session for exporters only; call it in the event loop that uses the session."""
    return aiohttp.ClientSession(
        connector=BoundedConnector(),
        cookie_jar=aiohttp.DummyCookieJar(),
        # The scraper has a deadline that covers everything.
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
        headers={
            hdrs.ACCEPT: "text/plain;version=0.0.4",
            # Compressed pages can be truncated or grow without bounds when decompressed: not worth
            # the risk for a page of some 100 kB.
            hdrs.ACCEPT_ENCODING: "identity",
            hdrs.USER_AGENT: f"gpu-metrics-server/{__version__}",
        },
    )


async def fetch(
    session: aiohttp.ClientSession,
    url: str,
    keeper: AccessKeeper,
    limits: PageLimits,
    room: PageRoom,
) -> bytes:
    """Fetch the page at a URL.

    Args:
        session: from `exporter_session`.
        url: the URL of the page.
        keeper: the TLS settings and credentials.
        limits: the limits of the page.
        room: the memory of this page, within that of all pages.

    Raises:
        ScrapeError: the page could not be fetched completely.
    """
    try:
        return await _get(session, url, keeper, limits, room)
    except aiohttp.ClientPayloadError:
        raise ScrapeError("cut its page short", "cut-short") from None
    except aiohttp.ServerDisconnectedError:
        raise ScrapeError("closed the connection without answering", "unreachable") from None
    except aiohttp.ClientResponseError as error:
        brief = _in_brief(error)
        raise ScrapeError(f"did not send valid HTTP: {brief}", "not-http") from None
    except TimeoutError:
        raise  # an OSError, but not a connection error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ScrapeError(f"could not be reached: {why(error)}", "unreachable") from None


async def _get(
    session: aiohttp.ClientSession,
    url: str,
    keeper: AccessKeeper,
    limits: PageLimits,
    room: PageRoom,
) -> bytes:
    access = await keeper.current()
    if access.headers and not access.allow_http and not url.lower().startswith("https:"):
        raise ScrapeError(
            f"was not scraped: {access.setting}.auth would be sent in the clear", "credentials"
        )
    # A redirect is not followed: it could send the credentials anywhere.
    async with session.get(
        url,
        allow_redirects=False,
        ssl=access.context,
        server_hostname=access.server_name,
        headers=access.headers,
    ) as response:
        if response.status == HTTPStatus.UNAUTHORIZED and access.headers:
            keeper.refused()
        if response.status != HTTPStatus.OK:
            raise ScrapeError(_status(response.status, access), "http-status")
        if response.content_type not in ("text/plain", "application/openmetrics-text"):
            kind = printable(response.content_type, _MOST_SHOWN)
            raise ScrapeError(f"sent {kind}, not text/plain", "not-text")
        encoding = response.headers.get(hdrs.CONTENT_ENCODING, "identity")
        if encoding.lower() != "identity":
            kind = printable(encoding, _MOST_SHOWN)
            raise ScrapeError(f"sent a compressed page ({kind})", "not-text")
        # Without either, the page ends when the connection does, and a truncated page looks whole.
        if hdrs.CONTENT_LENGTH not in response.headers and not _is_chunked(response):
            raise ScrapeError(
                "sent a page without a length, so that a part of it would pass for the whole",
                "cut-short",
            )
        return await _read(response.content, limits, room)


def _status(status: int, access: Access) -> str:
    answered = f"answered HTTP {status}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and not access.headers:
        return f"{answered}, and {access.setting} has no auth for it"
    return answered


async def _read(content: aiohttp.StreamReader, limits: PageLimits, room: PageRoom) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > limits.bytes:
            raise ScrapeError(
                f"sent more than {limits.bytes} bytes ({limits.section}.maxPageBytes)", "too-large"
            )
        if not room.grow(len(body)):
            raise ScrapeError(
                "sent a long page while other exporters' pages took all the memory for long pages",
                "too-large",
            )
    if body.count(b"\n") > limits.lines:
        raise ScrapeError(
            f"sent more than {limits.lines} lines ({limits.section}.maxPageLines)", "too-large"
        )
    if b"\0" in body:
        raise ScrapeError("sent bytes that are not text", "not-text")
    # In this format each line ends with a line feed: a page without the last one is truncated.
    if body and not body.endswith(b"\n"):
        raise ScrapeError("cut its page short: the last line has no line feed", "cut-short")
    if _has_line_above(body, _MOST_LINE_BYTES):
        raise ScrapeError(f"sent a line of more than {_MOST_LINE_BYTES} bytes", "too-large")
    return bytes(body)


def _has_line_above(body: bytearray, most: int) -> bool:
    """Return whether a line, including its line feed, is longer than this."""
    start = 0
    while len(body) - start > most:
        # The last line that ends within the limit; those before it are shorter.
        end = body.rfind(b"\n", start, start + most)
        if end < 0:
            return True
        start = end + 1
    return False


def _is_chunked(response: aiohttp.ClientResponse) -> bool:
    return "chunked" in response.headers.get(hdrs.TRANSFER_ENCODING, "").lower()


def _in_brief(error: aiohttp.ClientResponseError) -> str:
    """Return what is wrong with the head of a response, without the arrow that points to it."""
    return " ".join(error.message.split()).rstrip(" ^:")
