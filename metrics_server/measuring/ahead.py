"""Reads the pages that questions need shortly before they are due.

Only pages are read, and these scrapes count like any others. A question is still answered when it
is asked, so fallbacks, windows, incidents and rates are the same with and without this.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from metrics_server.errors import RequestError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.rhythms import Due, Rhythms
from metrics_server.measuring.samples import Question
from metrics_server.rules.model import MetricRule, SourceName

# How many questions are prepared at once.
_AT_ONCE = 8

log = structlog.stdlib.get_logger(__name__)


class Preparing(Protocol):
    """A source that can read ahead."""

    async def prepare(self, rule: MetricRule, pods: Sequence[Pod], until: float) -> int:
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
        sources: Mapping[SourceName, Preparing],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rhythms = rhythms
        self._select = select
        self._sources = sources
        self._clock = clock
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Prepare questions until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                dues, pause = self._rhythms.start(self._clock())
                for due in dues:
                    group.create_task(self._prepare(due), name=f"ahead {due.question.metric}")
                await asyncio.sleep(pause)

    async def _prepare(self, due: Due) -> None:
        async with self._places:
            try:
                await self._read(due)
            except RequestError:
                # The caller will get the error.
                return
            except Exception:
                log.exception("asking ahead failed", metric=due.question.metric)

    async def _read(self, due: Due) -> None:
        rule, pods = self._select(due.question)
        source = self._sources.get(rule.sources[0])
        began = self._clock()
        if source is None or not self._rhythms.begin(due, began):
            return
        pages = await source.prepare(rule, pods, due.until)
        self._rhythms.prepared(due, pages=pages, seconds=self._clock() - began)
