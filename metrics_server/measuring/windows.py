"""Means over a window of time, for rules that have one.

An HPA asks every 15 seconds, so a mean of what it happens to see would average only a few values. A
question about a rule with a window is therefore measured repeatedly in the background while it is
in demand, and the measurements are kept for the length of the window.

For a mean or a sum over pods, the work of all pods together is averaged. A mean over each pod's own
window would give the first seconds of a new pod the weight of a whole window and lose the work of a
pod that is gone; the HPA would overshoot either way.

Rates and quantiles are over the window already. They are measured repeatedly too, so that their
source sees the pages again and again, but their measurements are not averaged.
"""

import asyncio
import time
from array import array
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from statistics import fmean
from typing import Self

import structlog
from cachetools import LRUCache
from msgspec import structs

from metrics_server.common.weight import weight
from metrics_server.errors import RequestError
from metrics_server.measuring.aggregation import ceiling
from metrics_server.measuring.samples import Measurement, Question
from metrics_server.rules.model import MetricRule

# How many times a window is measured in the background; bounds a question's memory.
_TIMES = 30
# A window stays measured for HPA controllers with a sync period of up to this, in seconds.
_LINGER = 180
# For all questions with a window: enough for hundreds. Beyond that, the least recently asked starts
# over.
_MAX_BYTES = 8 * 1024 * 1024
# For one namespace, whose callers can use any number of selectors: each question takes time until
# nobody asks it any longer. Beyond that, the namespace's least recently asked starts over.
_MAX_EACH = 64
# The bytes of a window in addition to its question, including its task.
_WINDOW_BYTES = 8 * 1024

Measure = Callable[[], Awaitable[Measurement]]

log = structlog.stdlib.get_logger(__name__)


class Windows:
    """Turns measurements into means over their rule's window; an async context manager.

    The window ends with the newest measurement, whose timestamp is the answer's, and begins
    `rule.window` seconds before it (k8s.io/metrics, ExternalMetricValue.WindowSeconds). Until it
    has filled, the mean covers what has been measured: the first answer is the current value.

    Args:
        period: the shortest time between two measurements of a question, in seconds. A window is
            measured at most 30 times, so longer windows are measured less often.
        linger: how long a question stays in demand after it was asked, in seconds, besides one
            period.
        clock: seconds, on a monotonic clock.
    """

    def __init__(
        self, *, period: float, linger: float = _LINGER, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._period = period
        self._linger = linger
        self._clock = clock
        self._windows: LRUCache[Question, _Window] = LRUCache(_MAX_BYTES, getsizeof=_size)
        # Of each namespace, the most recently asked last.
        self._asked: dict[str, dict[Question, None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def mean(
        self, question: Question, rule: MetricRule, now: Measurement, measure: Measure
    ) -> Measurement:
        """The current measurement, with its value averaged over the rule's window.

        Args:
            question: the question.
            rule: the metric's rule, which has a window.
            now: the current measurement.
            measure: measures the question again, while it is in demand.
        """
        window = self._in_demand(question, rule, measure)
        window.record(now, self._clock(), self._spacing(rule))
        return window.mean(now)

    def keep_measuring(self, question: Question, rule: MetricRule, measure: Measure) -> None:
        """Measure a question repeatedly, for a rule whose value is already over its window."""
        self._in_demand(question, rule, measure)

    def _in_demand(self, question: Question, rule: MetricRule, measure: Measure) -> "_Window":
        """The window of a question that was asked now."""
        window = self._windows.get(question)
        if window is None:
            window = self._windows[question] = _Window(rule, weight(question))
            name = f"window {question.namespace}/{question.metric}"
            task = asyncio.create_task(self._keep_up(question, window, measure), name=name)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._note(question)
        window.until = self._clock() + self._linger + self._spacing(rule)
        return window

    def _note(self, question: Question) -> None:
        """Note that a question was asked, and drop a window if its namespace has too many."""
        asked = self._asked.setdefault(question.namespace, {})
        asked.pop(question, None)
        asked[question] = None
        if len(asked) > _MAX_EACH:
            oldest = next(iter(asked))
            del asked[oldest]
            self._windows.pop(oldest, None)

    def _forget(self, question: Question) -> None:
        asked = self._asked.get(question.namespace, {})
        asked.pop(question, None)
        if not asked:
            self._asked.pop(question.namespace, None)

    async def _keep_up(self, question: Question, window: "_Window", measure: Measure) -> None:
        """Measure a question until it is no longer in demand."""
        spacing = self._spacing(window.rule)
        try:
            while self._windows.get(question) is window:
                await asyncio.sleep(spacing)
                if window.until <= self._clock():
                    break
                try:
                    window.record(await measure(), self._clock(), spacing)
                except RequestError:
                    # The next question gets its own error; here it is a gap in the window.
                    continue
        except Exception:
            # The next question starts another window; it has its own answer, and its own error.
            log.exception("window stopped", metric=question.metric, namespace=question.namespace)
        finally:
            if self._windows.get(question) is window:
                del self._windows[question]
            if question not in self._windows:
                self._forget(question)

    def _spacing(self, rule: MetricRule) -> float:
        return max(self._period, rule.window / _TIMES)


def _size(window: "_Window") -> int:
    return window.size


class _Window:
    """The measurements for one question.

    Attributes:
        rule: the metric's rule.
        until: until when it is in demand, by the monotonic clock.
        timestamp: when the newest was read, by the same clock.
        size: its bytes, including the question's.
    """

    __slots__ = ("_ceilings", "_times", "_values", "rule", "size", "timestamp", "until")

    def __init__(self, rule: MetricRule, size: int) -> None:
        self.rule = rule
        self.size = size + _WINDOW_BYTES
        self.until = 0.0
        self.timestamp = 0.0
        # In order of time, of equal length.
        self._times = array("d")
        self._values = array("d")
        self._ceilings = array("d")

    def record(self, measured: Measurement, now: float, spacing: float) -> None:
        """Keep a measurement that comes at least half a step after the last.

        One scrape may be reported several times, and questions come in between: so each stretch
        of time counts about once.
        """
        times, values, ceilings = self._times, self._values, self._ceilings
        if times and (now < times[-1] + spacing / 2 or measured.timestamp == self.timestamp):
            return
        self.timestamp = measured.timestamp
        times.append(now)
        values.append(measured.value * self._multiplier(measured))
        ceilings.append(ceiling(self.rule, measured.samples))
        old = bisect_right(times, now - self.rule.window)
        del times[:old], values[:old], ceilings[:old]

    def mean(self, now: Measurement) -> Measurement:
        """The mean over the window, for the current pods."""
        value = fmean(self._values) / self._multiplier(now)
        if self.rule.over_pods == "avg":
            # The work of pods that are gone must not say more of the others than a pod can have.
            value = min(value, max(self._ceilings))
        return structs.replace(now, value=value, timestamp=self.timestamp)

    def _multiplier(self, measured: Measurement) -> int:
        """The factor from a mean over pods to their work; 1 if the value is work, or never is."""
        return measured.selected if self.rule.over_pods == "avg" else 1
