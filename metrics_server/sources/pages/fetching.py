"""Fetches a metrics page: the whole page, or an error with a readable message."""

from collections.abc import Mapping
from http import HTTPStatus

from msgspec import Struct

from metrics_server import __version__
from metrics_server.common.text import printable
from metrics_server.errors import ScrapeError
from metrics_server.http.client import HTTPClient, media_type
from metrics_server.http.exchange import DisconnectedError, InvalidHTTPError, TruncatedError
from metrics_server.http.sockets import why
from metrics_server.sources.pages.access import Access, AccessKeeper
from metrics_server.sources.pages.room import PageRoom

# Idle connections outlive the HPA's period of 15 s, so that a scrape seldom has to connect.
_KEEPALIVE_SECONDS = 60
# Far more than a GPU's labels with all labels of its pod. A line is parsed in one step.
_MOST_LINE_BYTES = 64 * 1024
# A name, a blank, a digit and a line feed.
_LEAST_LINE_BYTES = 4
_MIB = 1024 * 1024
# Characters of a header's value, so that the rest of the message is visible too.
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


def page_client() -> HTTPClient:
    """Return a client for pages only; close it in the event loop that uses it."""
    return HTTPClient(
        {
            "Accept": "text/plain;version=0.0.4",
            # Compressed pages can be truncated or grow without bounds when decompressed: not worth
            # the risk for a page of some 100 kB.
            "Accept-Encoding": "identity",
            "User-Agent": f"gpu-metrics-server/{__version__}",
        },
        keepalive=_KEEPALIVE_SECONDS,
    )


async def fetch(
    client: HTTPClient, url: str, keeper: AccessKeeper, limits: PageLimits, room: PageRoom
) -> bytes:
    """Fetch the page at a URL.

    Args:
        client: from `page_client`.
        url: the URL of the page.
        keeper: the TLS settings and credentials.
        limits: the limits of the page.
        room: the memory of this page, within that of all pages.

    Raises:
        ScrapeError: the page could not be fetched completely.
    """
    access = await keeper.current()
    if access.headers and not access.allow_http and not url.lower().startswith("https:"):
        raise ScrapeError(
            f"was not scraped: {access.setting}.auth would be sent in the clear", "credentials"
        )
    receiver = _PageReceiver(access, keeper, limits, room)
    try:
        body = await client.exchange(url, receiver, tls=access.tls, headers=access.headers)
    except TruncatedError:
        raise ScrapeError("cut its page short", "cut-short") from None
    except DisconnectedError:
        raise ScrapeError("closed the connection without answering", "unreachable") from None
    except InvalidHTTPError as error:
        raise ScrapeError(f"did not send valid HTTP: {error}", "not-http") from None
    except TimeoutError:
        raise  # an OSError, but not a connection error
    except (OSError, ValueError) as error:
        raise ScrapeError(f"could not be reached: {why(error)}", "unreachable") from None
    return _checked(body, limits)


class _PageReceiver:
    """Receives a page within its limits."""

    def __init__(
        self, access: Access, keeper: AccessKeeper, limits: PageLimits, room: PageRoom
    ) -> None:
        self._access = access
        self._keeper = keeper
        self._limits = limits
        self._room = room

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Check that this is the head of a page. A redirect is not followed.

        It could send the credentials anywhere.
        """
        if status == HTTPStatus.UNAUTHORIZED and self._access.headers:
            self._keeper.refused()
        if status != HTTPStatus.OK:
            raise ScrapeError(_status(status, self._access), "http-status")
        kind = media_type(headers)
        if kind not in ("text/plain", "application/openmetrics-text"):
            raise ScrapeError(f"sent {printable(kind, _MOST_SHOWN)}, not text/plain", "not-text")
        encoding = headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            shown = printable(encoding, _MOST_SHOWN)
            raise ScrapeError(f"sent a compressed page ({shown})", "not-text")
        # Without either, the page ends when the connection does, and a truncated page looks whole.
        if "content-length" not in headers and "transfer-encoding" not in headers:
            raise ScrapeError(
                "sent a page without a length, so a truncated one would look complete",
                "cut-short",
            )

    def grow(self, size: int) -> bool:
        """Check the size of the page so far."""
        limits = self._limits
        if size > limits.bytes:
            raise ScrapeError(
                f"sent more than {limits.bytes} bytes ({limits.section}.maxPageBytes)", "too-large"
            )
        if not self._room.grow(size):
            raise ScrapeError(
                "sent a long page while other exporters' pages took all the memory for long pages",
                "too-large",
            )
        return True


def _status(status: int, access: Access) -> str:
    answered = f"answered HTTP {status}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and not access.headers:
        return f"{answered}, and {access.setting} has no auth for it"
    return answered


def _checked(body: bytes | bytearray, limits: PageLimits) -> bytes:
    # A short page is not counted: it cannot have so many lines, unless they are blank.
    if len(body) > _LEAST_LINE_BYTES * limits.lines and body.count(b"\n") > limits.lines:
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


def _has_line_above(body: bytes | bytearray, most: int) -> bool:
    """Return whether a line, including its line feed, is longer than this."""
    start = 0
    while len(body) - start > most:
        # The last line that ends within the limit; those before it are shorter.
        end = body.rfind(b"\n", start, start + most)
        if end < 0:
            return True
        start = end + 1
    return False
