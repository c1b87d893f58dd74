"""Reads the pages that questions need shortly before they are due.

Only pages are read, and these scrapes count like any others. A question is still answered when it
is asked, so fallbacks, windows, incidents and rates are the same with and without this.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

import structlog

from metrics_server.errors import RequestError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.rhythms import Rhythms
from metrics_server.measuring.samples import Question
from metrics_server.measuring.spreading import Due
from metrics_server.rules.model import MetricRule

# How many questions of a namespace are prepared at once. One whose exporters hang keeps its place,
# so namespaces do not share places; the scraper limits how many pages all of them read at once.
_AT_ONCE = 8

log = structlog.stdlib.get_logger(__name__)


class Preparing(Protocol):
    """A source that can read ahead."""

    async def prepare(self, rule: MetricRule, pods: Sequence[Pod], until: float, /) -> int:
        """Read what these pods' measurement needs, unless it is fresh until then.

        Returns:
            How many pages were read.
        """
        ...


class Ahead:
    """Prepares questions.

    Args:
        rhythms: when they are due.
        select: returns the rule of a question and its pods, or raises a RequestError.
        sources: what can read ahead, by name; rules with another first source are skipped.
        clock: seconds, on the clock of the rhythms.
    """

    def __init__(
        self,
        rhythms: Rhythms,
        select: Callable[[Question], tuple[MetricRule, Sequence[Pod]]],
        sources: Mapping[str, Preparing],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rhythms = rhythms
        self._select = select
        self._sources = sources
        self._clock = clock
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._selecting = asyncio.Lock()

    async def run(self) -> None:
        """Prepare questions until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                dues, pause = self._rhythms.start(self._clock())
                for due in dues:
                    group.create_task(self._prepare(due), name=f"ahead {due.question.metric}")
                await asyncio.sleep(pause)

    async def _prepare(self, due: Due) -> None:
        namespace = due.question.namespace
        async with self._places.setdefault(namespace, asyncio.Semaphore(_AT_ONCE)):
            try:
                # After that, the question itself reads the rest.
                async with asyncio.timeout(due.until + self._rhythms.lead - self._clock()):
                    await self._read(due)
            except (RequestError, TimeoutError):
                # The caller will get the error.
                return
            except Exception:
                log.exception("asking ahead failed", metric=due.question.metric)

    async def _read(self, due: Due) -> None:
        async with self._selecting:
            if not self._rhythms.is_needed(due, self._clock()):
                return
            rule, pods = self._select(due.question)
            # In a large namespace this takes a while, and there may be many questions.
            await asyncio.sleep(0)
        source = self._sources.get(rule.sources[0])
        began = self._clock()
        if source is None or not self._rhythms.begin(due, began):
            return
        try:
            pages = await source.prepare(rule, pods, due.until)
        except asyncio.CancelledError:
            # It took too long, and should begin earlier the next time.
            self._rhythms.prepared(due, pages=0, began=began, ended=self._clock())
            raise
        self._rhythms.prepared(due, pages=pages, began=began, ended=self._clock())
