"""Keeps a store in sync with a resource of the cluster: reads all of it once, then the changes.

A watch begins with everything that exists. Where that is not offered or fails, everything is listed
in pages first.

It is split by how long each part lasts: `run` until cancelled, `_follow` for as long as watches can
continue, `_watch` for one stream. The protocol:
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from random import random
from typing import Generic, Protocol, TypeVar

import structlog
from msgspec import Raw

from metrics_server.common.backoff import Backoff
from metrics_server.common.outages import Outage
from metrics_server.errors import KubernetesError
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.initial import INITIAL_EVENTS, InitialEvents
from metrics_server.kube.paging import list_all
from metrics_server.kube.wire import MALFORMED, Change, malformed, read_event, version_of

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)

_BACKOFF_BASE_SECONDS = 0.5
_BACKOFF_CAP_SECONDS = 30.0
# An API that keeps breaking watches is reported this often, not for every watch.
_QUIET_SECONDS = 600
# After these the version is still valid: the next watch continues from it. None: no answer.
_WATCH_AGAIN = frozenset({None, HTTPStatus.TOO_MANY_REQUESTS})
# The answer of an API server that does not know the parameters of a watch with initial events.
_NOT_OFFERED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
# A watch that lasted this long was a success, however it ended.
_BRIEF_SECONDS = 1
# A watch with initial events begins within this time, or everything is listed in pages: a proxy may
# hold it back.
_OPENING_SECONDS = 10
# kube-apiserver sends a bookmark about once a minute.
_BOOKMARK_SECONDS = 60
# Long enough to notice a silent watch and to list everything again.
_STALE_SECONDS = 180

log = structlog.stdlib.get_logger(__name__)


class Store(Protocol[Item_contra]):
    """The store that a reflector keeps in sync."""

    def replace(self, items: Iterable[Item_contra]) -> None:
        """Replace all items."""
        ...

    def apply(self, kind: Change, item: Item_contra) -> None:
        """Apply one change; it may have been applied before."""
        ...


class Reflector(Generic[Item]):
    """Keeps a store in sync with one resource.

    Args:
        client: the client of the Kubernetes API.
        path: of the collection, such as /api/v1/pods.
        decode: decodes one object, from bytes of JSON, to an item of the store. It raises a
            msgspec.DecodeError or ValueError if it cannot.
        store: the store to keep in sync.
        query: further parameters of every list and watch, such as labelSelector.
        first_version: the resourceVersion of the first list. "0" is answered from the API
            server's cache, in one piece, however large; "" from etcd, in pages. A watch with
            initial events always comes from the cache, and is as up to date as etcd.
        watch_seconds: the minimum and maximum duration of one watch.
        grace: how many seconds a watch may be silent beyond its duration, or beyond the interval
            between bookmarks if that is shorter, before it is dropped.
        stale_after: how many seconds after the last sign of life the store is out of date.
        sleep: waits for a number of seconds.
        rand: returns a number in [0, 1).
        clock: monotonic seconds.

    Attributes:
        synced: set once the store matches the cluster; it stays set if contact is lost later, as
            the store keeps what was known last.
        resource_version: the version of the cluster that the store is at; "" while everything is
            being read.
        relists: how many times everything was read again after the watch fell behind.
        restarts: how many times a watch was reopened after the previous one had ended.
        stale_after: as given.
    """

    def __init__(
        self,
        client: KubernetesClient,
        path: str,
        decode: Callable[[Raw], Item],
        store: Store[Item],
        *,
        query: Mapping[str, str] | None = None,
        first_version: str = "0",
        watch_seconds: tuple[int, int] = (300, 600),
        grace: float = 60,
        stale_after: float = _STALE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rand: Callable[[], float] = random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.synced = asyncio.Event()
        self.resource_version = ""
        self.relists = 0
        self.restarts = 0
        self._client = client
        self._path = path
        self._decode = decode
        self._store = store
        self._query = dict(query or {})
        self._list_version = first_version
        self._lists = False
        self._watch_seconds = watch_seconds
        self._grace = grace
        self._sleep = sleep
        self._rand = rand
        self._backoff = Backoff(_BACKOFF_BASE_SECONDS, _BACKOFF_CAP_SECONDS, rand)
        self._clock = clock
        self._lived = False
        self._heard_at = clock()
        self.stale_after = stale_after
        self._log = log.bind(path=path)
        self._outage = Outage(
            self._log, "lost contact", "contact restored", quiet=_QUIET_SECONDS, clock=clock
        )
        self._unreadable = (0, "")

    @property
    def last_error(self) -> str | None:
        """The last error, as a sentence; None while everything works."""
        return self._outage.error

    @property
    def silence(self) -> float:
        """How many seconds ago the cluster last gave a sign of life.

        A complete list, an event, a bookmark, and the clean end of a watch are signs of life; the
        opening of a watch is not, as it may stay silent.
        """
        return self._clock() - self._heard_at

    @property
    def is_stale(self) -> bool:
        """Whether the store may be out of date."""
        return self.silence > self.stale_after

    async def run(self) -> None:
        """Keep the store in sync until cancelled; no error of the cluster ends it."""
        while True:
            self.resource_version = ""
            try:
                if self._lists:
                    await self._list()
                await self._follow()
            except KubernetesError as error:
                # After an outage, the API server is asked for a stream again.
                is_away = error.code is None and not isinstance(error.__cause__, TimeoutError)
                if self.resource_version or self._lists or is_away:
                    await self._back_off(error)
                    continue
                self._lists = True
                if error.code in _NOT_OFFERED:
                    self._log.info("lists are not streamed, listing in pages", error=str(error))
                else:
                    await self._back_off(error)

    async def _list(self) -> None:
        """List everything in pages, and replace the store's content at once."""
        began = self._clock()
        # Only the first list may be answered from a cache: a later one could go back in time.
        version = self._list_version
        try:
            listed = await list_all(self._client, self._path, self._decode, self._query, version)
        except KubernetesError as error:
            if error.code == HTTPStatus.GONE:
                self._list_version = ""
            raise
        self._store.replace(listed.items)
        self._log.info("listed", items=len(listed.items), resource_version=listed.version)
        self._have_all(listed.version, listed.unreadable, began)

    async def _read_initial(self, lines: AsyncIterator[bytes]) -> None:
        """Read a stream until it has sent everything, and replace the store's content at once."""
        self._lists = True
        initial = InitialEvents(self._path, self._decode)
        await initial.read(lines)
        self._store.replace(initial.items)
        for change in initial.changes:
            self._store.apply(*change)
        self._log.info("streamed", items=len(initial.items), resource_version=initial.version)
        self._have_all(initial.version, initial.unreadable, self._clock())

    def _have_all(self, version: str, unreadable: list[str], heard_at: float) -> None:
        """Note that the store matches the cluster at a version, and log what was skipped."""
        found = len(unreadable), next(iter(unreadable), "")
        if unreadable and found != self._unreadable:  # the same as in the last list is no news
            self._log.warning("malformed objects skipped", n=found[0], error=found[1])
        self._unreadable = found
        self.resource_version = version
        self._lists = False
        self._list_version = ""
        self._heard_at = heard_at
        self.relists += self.synced.is_set()
        self.synced.set()

    async def _follow(self) -> None:
        """Watch, again and again, for as long as watches can continue from the version.

        After a long silence, whatever the reason, only a list shows what was missed.
        """
        overdue = min(self._watch_seconds[1], _BOOKMARK_SECONDS) + self._grace / 2
        while not self.resource_version or self.silence < overdue:
            try:
                await self._watch()
            except KubernetesError as error:
                if not self.resource_version or error.code not in _WATCH_AGAIN:
                    raise
                await self._back_off(error)
            self.restarts += 1

    async def _watch(self) -> None:
        """Read one stream to its end; it begins with everything, unless that is known."""
        least, greatest = self._watch_seconds
        seconds = round(least + (greatest - least) * self._rand())
        query = {
            **self._query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self.resource_version,
            "timeoutSeconds": str(seconds),
            **({} if self.resource_version else INITIAL_EVENTS),
        }
        silence = min(seconds, _BOOKMARK_SECONDS) + self._grace
        self._lived = False
        opening = None if self.resource_version else _OPENING_SECONDS
        async with self._client.watch(self._path, query, silence=silence, opening=opening) as lines:
            if not self.resource_version:
                await self._read_initial(lines)
            opened = self._clock()
            # Opening it is not enough: it may break at once, every time.
            lasting = asyncio.get_running_loop().call_later(_BRIEF_SECONDS, self._outage.recovered)
            try:
                async for line in lines:
                    self._take(line)
                    self._heard_at = self._clock()
                    self._backoff.reset()
            finally:
                lasting.cancel()
                self._lived = self._clock() - opened >= _BRIEF_SECONDS
                if self._lived:
                    self._backoff.reset()
        if not self._lived:
            raise KubernetesError(f"a watch of {self._path} ended as soon as it was opened")
        self._heard_at = self._clock()

    def _take(self, line: bytes) -> None:
        """Apply one watch event.

        Raises:
            KubernetesError: it is an error, or cannot be decoded.
        """
        event = read_event(line, self._path)
        version = version_of(event, self._path, self.resource_version)
        if event.type != "BOOKMARK":
            try:
                self._store.apply(event.type, self._decode(event.object))
            except MALFORMED as error:
                raise malformed(self._path, error) from error
        self.resource_version = version

    async def _back_off(self, error: KubernetesError) -> None:
        """Wait, longer each time, and at least as long as the API asked for."""
        if self._lived and error.code in _WATCH_AGAIN:
            # A proxy may cut off every watch that is silent for a minute; that is not an outage.
            self._log.info("watch cut off", error=str(error), code=error.code)
        elif self._backoff.failures or error.code != HTTPStatus.GONE:
            # A version may expire, which a new list fixes; if it keeps expiring, log it.
            self._outage.failed(error, code=error.code)
        self._lived = False
        asked_for = min(_BACKOFF_CAP_SECONDS, error.retry_after or 0)
        await self._sleep(max(asked_for, self._backoff.pause()))
