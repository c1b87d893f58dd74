"""Scrapes exporters: all at once, each at most once within `max_age`, each with its own outcome."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

import aiohttp
import structlog
from cachetools import LRUCache
from msgspec import Struct

from metrics_server import __version__
from metrics_server.connections import why
from metrics_server.errors import ScrapeError
from metrics_server.exporters.access import AccessFiles, AccessKeeper
from metrics_server.exporters.pod_mapper import Attribution, attribute
from metrics_server.monitoring import Monitor
from metrics_server.rules import Reading

MAX_PAGE_BYTES = 16 * 1024 * 1024

# Idle connections outlive the HPA's period of 15 s, so that a scrape seldom has to connect.
_KEEPALIVE_SECONDS = 60
_MAX_FAILING_REMEMBERED = 10_000

log = structlog.stdlib.get_logger(__name__)


class Page:
    """One exporter's metrics page.

    Attributes:
        target: the URL it came from.
        body: the page, in the Prometheus text format.
        timestamp: when it was asked for, in seconds since the epoch: what it tells is no older.
    """

    __slots__ = ("_attributions", "body", "target", "timestamp")

    def __init__(self, target: str, body: bytes, timestamp: float) -> None:
        self.target = target
        self.body = body
        self.timestamp = timestamp
        self._attributions: dict[tuple[Reading, ...], Attribution] = {}

    def attribution(self, readings: tuple[Reading, ...]) -> Attribution:
        """The page's values for pods; parsed once, however many questions share the page."""
        known = self._attributions.get(readings)
        if known is None:
            known = self._attributions[readings] = attribute(self.body, readings)
        return known


class Scrapes(Struct, frozen=True):
    """What some exporters gave.

    Attributes:
        outcomes: by URL, the page or how the scrape failed.
        fresh_until: when the first of these scrapes ceases to serve, in seconds since the epoch.
    """

    outcomes: Mapping[str, Page | ScrapeError]
    fresh_until: float


class _Scrape(Struct, frozen=True):
    task: asyncio.Task[Page | ScrapeError]
    began: float


class Scraper:
    """Reads exporters' pages on demand.

    A scrape that is under way, or that began within `max_age`, serves whoever asks for it, be it
    a page or a failure: no exporter is asked more often, however many questions there are.

    Args:
        timeout: how long one scrape may take, waiting for a connection included, in seconds.
        max_age: how long a scrape serves, counted from its start, in seconds.
        max_concurrency: connections to exporters at most.
        monitor: counts the scrapes and their outcomes.
        access: whom to trust, and what to show; without it, the system's authorities and nothing.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        timeout: float,
        max_age: float,
        max_concurrency: int,
        monitor: Monitor,
        access: AccessKeeper | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._timeout = timeout
        self._max_age = max_age
        self._max_concurrency = max_concurrency
        self._access = access or AccessKeeper(AccessFiles())
        self._monitor = monitor
        self._clock = clock
        self._scrapes: dict[str, _Scrape] = {}
        self._failing: LRUCache[str, None] = LRUCache(_MAX_FAILING_REMEMBERED)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._max_concurrency, keepalive_timeout=_KEEPALIVE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers={
                "Accept": "text/plain;version=0.0.4",
                "User-Agent": f"gpu-metrics-server/{__version__}",
            },
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        under_way = [one.task for one in self._scrapes.values() if not one.task.done()]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._session.close()

    def __len__(self) -> int:
        """How many scrapes are kept, or under way."""
        return len(self._scrapes)

    async def scrape(self, targets: Iterable[str]) -> Scrapes:
        """The page of each of these URLs, or how it failed. Takes no longer than `timeout`."""
        scrapes = {target: self._scrape_of(target) for target in targets}
        under_way = [one.task for one in scrapes.values() if not one.task.done()]
        if under_way:
            # A question that is given up leaves the scrape to the others that share it.
            await asyncio.wait(under_way)
        began = min((one.began for one in scrapes.values()), default=self._clock())
        return Scrapes(
            outcomes={target: one.task.result() for target, one in scrapes.items()},
            fresh_until=began + self._max_age,
        )

    def _scrape_of(self, target: str) -> _Scrape:
        scrape = self._scrapes.get(target)
        if scrape is None:
            began = self._clock()
            task = asyncio.create_task(self._read(target, began), name=f"scrape {target}")
            scrape = self._scrapes[target] = _Scrape(task, began)
            # A page is let go with its age, so that memory follows the questions, not the cluster.
            asyncio.get_running_loop().call_later(self._max_age, self._expire, target, scrape)
        return scrape

    def _expire(self, target: str, scrape: _Scrape) -> None:
        if scrape.task.done():
            del self._scrapes[target]
        else:
            scrape.task.add_done_callback(lambda _: self._scrapes.pop(target, None))

    async def _read(self, target: str, began: float) -> Page | ScrapeError:
        start = time.perf_counter()
        outcome: Page | ScrapeError
        try:
            outcome = Page(target, await self._fetch(target), began)
        except ScrapeError as error:
            outcome = error
        except TimeoutError:
            outcome = ScrapeError(f"did not answer within {self._timeout:g} s", "timeout")
        except aiohttp.ClientPayloadError:
            outcome = ScrapeError("cut its page short", "cut-short")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            told = why(error)
            outcome = ScrapeError(f"could not be reached: {told}", "unreachable")
        seconds = time.perf_counter() - start
        reason = outcome.reason if isinstance(outcome, ScrapeError) else "ok"
        self._monitor.scraped(reason, seconds)
        self._tell_turn(target, outcome)
        return outcome

    async def _fetch(self, target: str) -> bytes:
        access = await self._access.current()
        # A redirect is not followed: it could lead anywhere, and the credentials with it.
        async with self._session.get(
            target,
            allow_redirects=False,
            ssl=access.context,
            server_hostname=access.server_name,
            headers=access.headers,
        ) as response:
            if response.status == 401:  # noqa: PLR2004 - HTTP's own number
                self._access.refused()
            if response.status != 200:  # noqa: PLR2004 - HTTP's own number
                raise ScrapeError(f"answered HTTP {response.status}", "http-status")
            if response.content_type not in ("text/plain", "application/openmetrics-text"):
                raise ScrapeError(f"sent {response.content_type}, not text/plain", "not-text")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_PAGE_BYTES:
                    raise ScrapeError(f"sent more than {MAX_PAGE_BYTES // 2**20} MiB", "too-large")
        if b"\0" in body:
            raise ScrapeError("sent bytes that are not text", "not-text")
        # The format has each line end with a line feed: a page without its last one is a part.
        if body and not body.endswith(b"\n"):
            raise ScrapeError("cut its page short: the last line has no end", "cut-short")
        return bytes(body)

    def _tell_turn(self, target: str, outcome: Page | ScrapeError) -> None:
        """Log an exporter when it begins to fail and when it has recovered, not at each scrape."""
        if isinstance(outcome, ScrapeError):
            if target not in self._failing:
                log.warning("exporter fails", target=target, reason=str(outcome))
            self._failing[target] = None
        elif target in self._failing:
            del self._failing[target]
            log.info("exporter has recovered", target=target)
