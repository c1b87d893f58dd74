"""A Deployment under constant work and an HPA that scales it, in simulated time.

The provider and the HPA controller's arithmetic are the real ones; pods, exporters and time
are simulated.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import cache, lru_cache
from itertools import cycle
from math import inf
from types import TracebackType
from typing import Self

from msgspec import Struct
from prometheus_client import CollectorRegistry

from metrics_server.api.types import format_quantity, milli_value
from metrics_server.common.clock import time_of_day
from metrics_server.errors import RequestError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.measuring.fallback import FallbackChain, FallbackKind, Simulated
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.provider import MetricsProvider
from metrics_server.measuring.samples import Answer, Collection, Gap, PodSample, Question
from metrics_server.measuring.windows import Windows
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule
from metrics_server.simulator.autoscaling.decision import decide
from metrics_server.simulator.autoscaling.hpa import (
    ExternalMetric,
    History,
    HorizontalPodAutoscaler,
    Item,
    MetricUnavailable,
    Scale,
    ScaledPod,
)
from metrics_server.telemetry.metrics import Monitor

SYNC = 15.0
"""--horizontal-pod-autoscaler-sync-period, in seconds."""

# Most syncs have the same answer.
_milli = lru_cache(milli_value)


@cache
def _monitor() -> Monitor:
    """One for all simulations, which do not read it."""
    return Monitor(CollectorRegistry())


class _Replica(Struct):
    name: str
    created: float
    ready_at: float
    idle_at: float = inf
    gone_at: float = inf

    @property
    def deleted(self) -> bool:
        return self.gone_at < inf


class Simulation:
    """One Deployment, one HPA; an async context manager.

    Args:
        rule: the metric that the HPA asks for.
        target: the HPA's target, in the metric's unit.
        replicas: the initial number, all Ready.
        work: the total work of all pods, in percent of one GPU.
        chain: the fallbacks.
        loading: how long a new pod is not Ready, in seconds.
        draining: how long a deleted pod is terminating.
        stagger: how much longer each pod takes than the one before, if deleted together.
        holding: how long a deleted pod still does its share of the work, before this moves to the
            others and the pod returns its GPU.
        hot: how long a pod that has become Ready reports 100 %, whatever its work.
        stabilization: behavior.scaleDown.stabilizationWindowSeconds.
        most: maxReplicas.
        routes: which replica of the server is asked, in order, repeatedly.
    """

    def __init__(
        self,
        rule: MetricRule,
        *,
        target: float,
        replicas: int,
        work: float,
        chain: Sequence[FallbackKind] = ("last-known", "simulated"),
        loading: float = 20,
        draining: float = 28,
        stagger: float = 0,
        holding: float = 0,
        hot: float = 0,
        stabilization: float = 300,
        most: int = 30,
        routes: Sequence[int] = (0,),
    ) -> None:
        self.now = 10_000.0
        self._epoch = time_of_day(0)
        self.exporters_fail = False
        self.work = work
        self.wanted = replicas
        self.series: list[int] = []
        self.sources: list[str] = []
        self._loading, self._hot = loading, hot
        self._draining, self._stagger, self._holding = draining, stagger, holding
        self._replicas = [
            _Replica(f"pod-{n}", self.now - 1000, self.now - 1000) for n in range(replicas)
        ]
        self._made = replicas
        self._listed: tuple[Pod, ...] = ()
        self._hpa = HorizontalPodAutoscaler(
            namespace="default",
            metrics=(ExternalMetric(rule.name, "app=a", rule.target, round(target * 1000)),),
            max_replicas=most,
            stabilization_window=stabilization,
        )
        self._history = History()
        self._question = Question("default", rule.name, parse_selector("app=a"))
        self._rule = rule
        self._chain = chain
        self._routes = cycle(routes)
        self._servers = max(routes) + 1
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # Its background task measures in real time, and so never in simulated time.
        windows = await self._stack.enter_async_context(
            Windows(period=1000, clock=lambda: self.now)
        )
        self._providers = [self._provider(windows) for _ in range(self._servers)]
        return self

    def _provider(self, windows: Windows) -> MetricsProvider:
        return MetricsProvider(
            rules=Rules([self._rule]),
            pods=self,
            measure="ready",
            source=self,
            min_coverage=0.5,
            windows=windows,
            incidents=Incidents(),
            fallback=FallbackChain(
                self._chain,
                last_known_max_age=60,
                simulated=Simulated(),
                clock=lambda: self.now,
            ),
            monitor=_monitor(),
            clock=lambda: self.now,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def run(self, seconds: float) -> None:
        """Let this many seconds pass, with a sync of the HPA every 15 s."""
        end = self.now + seconds
        while self.now < end:
            await self.sync()
            self.now += SYNC

    async def measure(self) -> None:
        """Measure, as a window's background task does."""
        self._settle()
        await self._answer()

    async def sync(self) -> None:
        """Ask, decide and scale, like the HPA controller."""
        self._settle()
        answer: tuple[Item, ...] | MetricUnavailable
        try:
            told = await self._answer()
        except RequestError as error:
            answer = MetricUnavailable(str(error))
            self.sources.append("error")
        else:
            answer = (Item(_milli(format_quantity(told.value, told.decimals))),)
            self.sources.append(told.source)
        pods = tuple(
            ScaledPod(pod.name, pod.phase, pod.ready, pod.terminating) for pod in self._listed
        )
        scale = Scale(self.wanted, len(pods), pods)
        decision = decide(self._hpa, scale, (answer,), self._history, self.now)
        self._history = decision.history
        self.scale(decision.replicas)
        self.series.append(self.wanted)

    async def _answer(self) -> Answer:
        return await self._providers[next(self._routes)].answer(self._question)

    def scale(self, replicas: int) -> None:
        """Give the Deployment this many replicas; the newest go first."""
        self.wanted = replicas
        alive = [one for one in self._replicas if not one.deleted]
        if len(alive) == replicas:
            return
        for number, one in enumerate(alive[replicas:]):
            one.idle_at = self.now + self._holding
            one.gone_at = self.now + self._draining + number * self._stagger
        for _ in range(replicas - len(alive)):
            self._replicas.append(_Replica(f"pod-{self._made}", self.now, self.now + self._loading))
            self._made += 1
        self._settle()

    def replace_pods(self) -> None:
        """Delete every pod, and create as many new ones, like a Deployment with Recreate."""
        replicas = self.wanted
        self.scale(0)
        self.scale(replicas)

    def in_namespace(self, _: str) -> tuple[Pod, ...]:
        """The pods that exist."""
        return self._listed

    async def collect(self, rule: MetricRule, pods: Sequence[Pod]) -> Collection:
        """The exporters' current values for these pods."""
        assert rule is self._rule
        if self.exporters_fail:
            gap = Gap("exporters-failed", "exporter http://10.0.0.1:9400 sent an empty page")
            return Collection(len(pods), (), gaps=(gap,), fresh_until=self.now)
        at_work = {
            one.name: one
            for one in self._replicas
            if one.ready_at <= self.now < min(one.idle_at, one.gone_at)
        }
        samples = tuple(
            PodSample(pod.name, (self._utilization(at_work[pod.name], len(at_work)),), self.now)
            for pod in pods
            if pod.name in at_work
        )
        drained = tuple(pod.name for pod in pods if pod.terminating and pod.name not in at_work)
        return Collection(len(pods), samples, fresh_until=self.now, drained=drained)

    def _utilization(self, replica: _Replica, at_work: int) -> float:
        if replica.ready_at <= self.now < replica.ready_at + self._hot:
            return 100
        return min(100.0, self.work / at_work)

    def _settle(self) -> None:
        """The current pods."""
        self._replicas = [one for one in self._replicas if self.now < one.gone_at]
        listed = tuple(
            Pod(
                namespace="default",
                name=one.name,
                labels={"app": "a"},
                node="gpu-0",
                phase="Running",
                ready=one.ready_at <= self.now,
                terminating=one.deleted,
                gpus=1,
                created=self._epoch + one.created,
            )
            for one in self._replicas
        )
        if listed != self._listed:
            self._listed = listed
