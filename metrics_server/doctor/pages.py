"""The exporters' pages: through kube-apiserver's proxy of pods, or directly from within a pod.

The proxy needs the right to `get` the subresource `pods/proxy` in the exporters' namespace, but no
network path to them. In the server's own pod it is the other way round.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus

from metrics_server.doctor.api import Api, proxied
from metrics_server.doctor.exporters import Exporter
from metrics_server.doctor.shared import Shared
from metrics_server.errors import KubernetesError, ScrapeError
from metrics_server.kube.answers import Fetched, status_message
from metrics_server.rules.dialect import Dialect
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.access import AccessKeeper
from metrics_server.sources.pages.fetching import PageLimits, fetch, page_client
from metrics_server.sources.pages.room import PageRoom, Room
from metrics_server.sources.pages.scraper import Scrapes

NOT_READ = "not-read"
"""The reason of a page that could not be read from here; the server may still read it."""

MAX_PAGES = 200
"""How many exporters are read; if there are more, the first ones by node."""

# What kube-apiserver says when it cannot reach a pod; if a message has several, the first counts.
_NOT_REACHED = {
    "connection refused": "Connection refused",
    "connection reset": "Connection reset by peer",
    "no route to host": "No route to host",
    "no such host": "the host name cannot be resolved",
    "i/o timeout": "it did not answer in time",
    "deadline exceeded": "it did not answer in time",
    "handshake timeout": "it did not answer in time",
    "HTTP response to HTTPS client": "there is no TLS at this port: is it http rather than https?",
    "does not look like a TLS handshake": (
        "there is no TLS at this port: is it http rather than https?"
    ),
    "EOF": "the connection was closed without an answer",
}

_AT_ONCE = 16
_SECONDS = 5.0


class PageReader:
    """Reads exporters' pages, each once; has the method of a `Scraper` that sources need.

    Args:
        api: the Kubernetes API.
        exporters: the exporters, by URL.
        limits: the limits of a page.
        dialects: the dialects of its labels.
        direct: whether to read pages at their own addresses rather than through the API.
    """

    def __init__(
        self,
        api: Api,
        exporters: Mapping[str, Exporter],
        limits: PageLimits,
        dialects: tuple[Dialect, ...],
        *,
        direct: bool,
    ) -> None:
        self._api = api
        self._exporters = exporters
        self._limits = limits
        self._dialects = dialects
        self._direct = direct
        self._outcomes: Shared[str, Page | ScrapeError] = Shared()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def scrape(self, targets: Iterable[str]) -> Scrapes[Page]:
        """Return the page of each URL, or why there is none."""
        wanted = list(targets)
        read = await asyncio.gather(
            *(self._outcomes.get(url, partial(self.read, url)) for url in wanted)
        )
        return Scrapes(dict(zip(wanted, read, strict=True)), time.monotonic())

    async def close(self) -> None:
        """Cancel what is being read."""
        await self._outcomes.close()

    async def read(self, url: str) -> Page | ScrapeError:
        """Read a page now."""
        exporter = self._exporters.get(url)
        if exporter is None:
            return ScrapeError("is not an exporter", NOT_READ)
        async with self._turns:
            began = time.monotonic()
            try:
                async with asyncio.timeout(_SECONDS):
                    body = await (self._get if self._direct else self._through_api)(exporter)
            except (ScrapeError, KubernetesError, TimeoutError) as error:
                return self._failure(exporter, error)
        return Page(url, body, began, self._dialects)

    def _failure(self, exporter: Exporter, error: Exception) -> ScrapeError:
        match error:
            case ScrapeError() if exporter.has_credentials and "HTTP 40" in str(error):
                return ScrapeError("was not read: it requires credentials", NOT_READ)
            case ScrapeError():
                return error.with_traceback(None)
            case KubernetesError(code=None):
                return ScrapeError(f"was not read: {error}", NOT_READ)
            case KubernetesError():
                limit = f"{self._limits.bytes} bytes ({self._limits.section}.maxPageBytes)"
                return ScrapeError(f"sent more than {limit}", "too-large")
        return ScrapeError(f"did not answer within {_SECONDS:g} s", "timeout")

    async def _get(self, exporter: Exporter) -> bytes:
        room = PageRoom(Room(self._limits.bytes))
        client = page_client()
        try:
            return await fetch(client, exporter.url, AccessKeeper(), self._limits, room)
        finally:
            await client.close()

    async def _through_api(self, exporter: Exporter) -> bytes:
        if exporter.pod is None:
            raise ScrapeError(
                "was not read: its EndpointSlice names no pod to reach it through", NOT_READ
            )
        path = proxied(*exporter.pod, exporter.scheme, exporter.endpoint.port, exporter.path)
        return page_of(await self._api.fetch(path, max_bytes=self._limits.bytes))


def page_of(answer: Fetched) -> bytes:
    """Return the page in an answer of kube-apiserver's proxy (pure).

    Raises:
        ScrapeError: it is an error, of the exporter or of kube-apiserver.
    """
    message = status_message(answer.body)
    match answer.status:
        case HTTPStatus.OK:
            pass
        case HTTPStatus.FORBIDDEN if message:
            raise ScrapeError(f"was not read: {message}", NOT_READ)
        case HTTPStatus.SERVICE_UNAVAILABLE | HTTPStatus.BAD_GATEWAY | HTTPStatus.NOT_FOUND if (
            message
        ):
            raise ScrapeError(f"could not be reached: {not_reached(message)}", "unreachable")
        case status:
            raise ScrapeError(f"answered HTTP {status}", "http-status")
    try:
        answer.body.decode()
    except UnicodeDecodeError:
        raise ScrapeError("sent bytes that are not text", "not-text") from None
    if answer.body and not answer.body.endswith(b"\n"):
        raise ScrapeError("cut its page short: the last line has no line feed", "cut-short")
    return answer.body


def not_reached(message: str) -> str:
    """Return why kube-apiserver did not reach a pod, in the words of the server's own errors."""
    known = (words for text, words in _NOT_REACHED.items() if text in message)
    return next(known, message.removeprefix("error trying to reach service: "))


def unread_in(outcomes: Mapping[str, Page | ScrapeError]) -> str:
    """Return why a page could not be read from here; "" if each was read, or is at fault itself."""
    unread = (one for one in outcomes.values() if isinstance(one, ScrapeError))
    return next((str(one) for one in unread if one.reason == NOT_READ), "")


def pages_in(
    outcomes: Mapping[str, Page | ScrapeError],
) -> tuple[Sequence[tuple[str, Page]], Sequence[tuple[str, ScrapeError]]]:
    """Return the pages, and the errors that are the exporters' own."""
    pages = [(url, one) for url, one in outcomes.items() if isinstance(one, Page)]
    errors = [
        (url, one)
        for url, one in outcomes.items()
        if isinstance(one, ScrapeError) and one.reason != NOT_READ
    ]
    return pages, errors
