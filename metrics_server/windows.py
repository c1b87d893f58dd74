"""Means over a window of time, for the rules that ask for one.

An HPA asks each 15 seconds, and a mean of what it happens to see would be one of two or three
values. So the pods that a rule with a window was asked about are measured again and again in the
background for as long as it is in demand, and what was measured is kept for the window.
"""

import asyncio
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from statistics import fmean
from types import TracebackType
from typing import Self

import structlog
from msgspec import structs

from metrics_server.aggregation import pod_value
from metrics_server.kube.pods import Pod
from metrics_server.rules import MetricRule
from metrics_server.samples import Collection, MetricSource, PodSample

# How many times a window is measured in the background: it bounds the memory of a pod.
_TIMES = 30

log = structlog.stdlib.get_logger(__name__)


class WindowedSource:
    """A MetricSource whose samples are means over their rule's window; an async context manager.

    A pod's value is the plain mean of its values at the scrapes of the window, which ends with
    the newest of them and begins `rule.window` seconds before it. Which pods have a sample, and
    what is told of those that have none, is as of now: a pod whose exporter fails is missing,
    however much is kept of it. A sample's timestamp is the end of its window, as the API has it
    (k8s.io/metrics, ExternalMetricValue.WindowSeconds). Until the window has filled, the mean is
    of what there is: the first answer is the value of now.

    Args:
        source: what measures.
        period: how often pods in demand are measured at most, in seconds. A window is measured
            30 times at most, so that a longer one is not measured as often.
        linger: how long after a question its pods stay in demand, in seconds, besides one period.
        clock: seconds, on a clock that never goes back.
    """

    def __init__(
        self,
        source: MetricSource,
        *,
        period: float,
        linger: float = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._period = period
        self._linger = linger
        self._clock = clock
        # By the rule's name and the pods' namespace.
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """Measure these pods, all of one namespace, now, and tell their means."""
        measured = await self._source.collect(rule, pods)
        if not rule.window or not pods:
            return measured
        key = (rule.name, pods[0].namespace)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(rule)
            task = asyncio.create_task(self._keep_up(key, kept), name=f"window {'/'.join(key)}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        kept.ask(pods, self._clock() + self._linger + self._spacing(rule))
        kept.record(measured, self._spacing(rule))
        return structs.replace(
            measured, samples=tuple(kept.mean(sample) for sample in measured.samples)
        )

    async def _keep_up(self, key: tuple[str, str], kept: "_Kept") -> None:
        """Measure the pods in demand until there are none."""
        rule = kept.rule
        try:
            while True:
                await asyncio.sleep(self._spacing(rule))
                pods = kept.in_demand(self._clock())
                if not pods:
                    return
                kept.record(await self._source.collect(rule, pods), self._spacing(rule))
        except Exception:
            # The next question begins anew; it has its own answer, and its own error.
            log.exception("a window is not kept up", metric=rule.name, namespace=key[1])
        finally:
            del self._kept[key]

    def _spacing(self, rule: MetricRule) -> float:
        return max(self._period, rule.window / _TIMES)


class _Asked:
    """A pod that was asked about, and what was measured of it."""

    __slots__ = ("pod", "times", "until", "values")

    def __init__(self, pod: Pod, until: float) -> None:
        self.pod = pod
        self.until = until
        # In the order of time, of equal length.
        self.times = array("d")
        self.values = array("d")


class _Kept:
    """What is kept for one rule in one namespace.

    Attributes:
        rule: the rule.
    """

    def __init__(self, rule: MetricRule) -> None:
        self.rule = rule
        self._asked: dict[str, _Asked] = {}

    def ask(self, pods: Sequence[Pod], until: float) -> None:
        """Keep these pods in demand until then."""
        for pod in pods:
            asked = self._asked.get(pod.name)
            # A pod that has moved is another one of the same name, as a StatefulSet makes them.
            if asked is None or asked.pod.node != pod.node:
                asked = self._asked[pod.name] = _Asked(pod, until)
            asked.pod, asked.until = pod, until

    def in_demand(self, now: float) -> list[Pod]:
        """The pods in demand; the others are forgotten."""
        self._asked = {name: asked for name, asked in self._asked.items() if asked.until > now}
        return [asked.pod for asked in self._asked.values()]

    def record(self, measured: Collection, spacing: float) -> None:
        """Keep the samples that come at least half that many seconds after their pod's last.

        One scrape may be told many times over, and questions come in between: so each stretch of
        time counts about once.
        """
        for sample in measured.samples:
            asked = self._asked.get(sample.pod)
            if asked is None:
                continue
            times, values = asked.times, asked.values
            if times and times[-1] > sample.timestamp + self.rule.window:
                # The wall clock was set back.
                del times[:], values[:]
            if times and sample.timestamp < times[-1] + spacing / 2:
                continue
            times.append(sample.timestamp)
            values.append(pod_value(self.rule, sample))
            old = bisect_right(times, sample.timestamp - self.rule.window)
            del times[:old], values[:old]

    def mean(self, sample: PodSample) -> PodSample:
        """The sample with the mean of its pod's window in place of its values."""
        asked = self._asked[sample.pod]
        return structs.replace(sample, gpus=(fmean(asked.values),), timestamp=asked.times[-1])
