"""The product on one page: an HPA's question in, the GPU utilization of its pods out.

1. `rules` says where the metric is read and how it is aggregated.
2. `kube.pods`, kept in step with the cluster by `kube.reflector`, and `kube.labels` say which pods
   are meant. Those that can be measured are Running, Ready, not terminating, and request a GPU.
3. `exporters.source` measures them now: it finds the exporters on their nodes
   (`exporters.targets`), scrapes them (`exporters.scraper`), and attributes the samples on their
   pages to pods (`exporters.pod_mapper`). `windows` stands before it, for the rules that have one.
4. `aggregation` makes the samples into one number.
5. Where too few pods have a sample, `fallback` has the last word.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

import structlog
from cachetools import LRUCache
from msgspec import Struct

from metrics_server.aggregation import aggregate
from metrics_server.errors import (
    MeasurementMissingError,
    NoGpuRequestedError,
    NoPodMatchesError,
    NoPodMeasurableError,
)
from metrics_server.fallback import FallbackChain
from metrics_server.kube.pods import Pod
from metrics_server.monitoring import Monitor
from metrics_server.rules import MetricRule, Rules
from metrics_server.samples import Answer, MetricSource, Question

Measure = Literal["ready", "running"]

# Questions whose answers are kept: far above the number of HPAs of the largest clusters.
_MAX_KNOWN = 10_000

log = structlog.stdlib.get_logger(__name__)


class Pods(Protocol):
    """The pods of the cluster, as far as they are known here."""

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """Every pod of a namespace: the same object for as long as none of them has changed."""
        ...


class _Known(Struct, frozen=True):
    """An answer that would come out the same again, as long as these are the pods."""

    answer: Answer
    pods: tuple[Pod, ...]
    fresh_until: float


class ExternalMetricsProvider:
    """Answers questions about external metrics.

    Args:
        rules: the metrics that can be asked for.
        pods: the pods that can be selected.
        measure: "ready" measures Ready pods; "running" those too that are Running but not Ready.
            The HPA multiplies a Value by its count of ready pods, so a model that is still
            loading at 0 % would pull the mean down and shrink the workload as it grows.
        source: where a pod's measurement comes from.
        min_coverage: the share of the selected pods that must have a sample, from 0 to 1.
        fallback: what answers in place of a measurement that is missing.
        monitor: counts what was answered and how.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        pods: Pods,
        measure: Measure,
        source: MetricSource,
        min_coverage: float,
        fallback: FallbackChain,
        monitor: Monitor,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._pods = pods
        self._measure = measure
        self._source = source
        self._min_coverage = min_coverage
        self._fallback = fallback
        self._monitor = monitor
        self._clock = clock
        self._known: LRUCache[Question, _Known] = LRUCache(_MAX_KNOWN)

    def __len__(self) -> int:
        """How many answers are kept."""
        return len(self._known)

    async def answer(self, question: Question) -> Answer:
        """The value of a metric over the pods that the question selects.

        Raises:
            UnknownMetricError: no rule has the metric's name.
            CounterAskedError: it is the name of a counter of an exporter.
            NoPodMatchesError: the selector names no pod of the namespace.
            NoGpuRequestedError: none of the pods it names requests a GPU.
            NoPodMeasurableError: none of its GPU pods is Running and Ready.
            MeasurementMissingError: too few of those have a sample, and no fallback answers.
        """
        rule = self._rules.find(question.metric)
        pods = self._pods.in_namespace(question.namespace)
        known = self._known.get(question)
        if known is None or known.pods is not pods or known.fresh_until <= self._clock():
            collection = await self._source.collect(rule, self._select(question, pods))
            try:
                answer = aggregate(rule, collection, self._min_coverage)
            except MeasurementMissingError as missing:
                return self._fall_back(question, rule, collection.asked, missing)
            self._fallback.remember(question, answer)
            known = self._known[question] = _Known(answer, pods, collection.fresh_until)
        answer = known.answer
        self._monitor.measured(
            age=self._clock() - answer.timestamp, covered=answer.covered, asked=answer.asked
        )
        return answer

    def _select(self, question: Question, pods: Iterable[Pod]) -> list[Pod]:
        """The pods to measure, of those in the namespace.

        None of them is no measurement missing, so it is an error whatever the fallback: a number
        for pods that are not there would let the HPA compute replicas from nothing.
        """
        namespace, selector = question.namespace, question.selector
        matching = [pod for pod in pods if selector.matches(pod.labels)]
        with_gpu = [pod for pod in matching if pod.gpus]
        measurable = [pod for pod in with_gpu if self._is_measurable(pod)]
        if measurable:
            return measurable
        where = f'in namespace "{namespace}"' + (f' match "{selector}"' if str(selector) else "")
        if not matching:
            raise NoPodMatchesError(
                f"no pods {where}: compare the metric's selector in the HPA with the labels of "
                f"the pods (kubectl get pods -n {namespace} --show-labels)"
            )
        if not with_gpu:
            raise NoGpuRequestedError(
                f"pods {where} ({len(matching)}), but none of them requests a GPU: a container "
                "must set resources.limits for one of the resources under pods.gpuResources, "
                "such as nvidia.com/gpu"
            )
        states = Counter(_state(pod) for pod in with_gpu)
        raise NoPodMeasurableError(
            f"GPU pods {where} ({len(with_gpu)}), but none of them can be measured yet: "
            + ", ".join(f"{count} {state}" for state, count in states.most_common())
        )

    def _is_measurable(self, pod: Pod) -> bool:
        if pod.terminating or pod.phase != "Running":
            return False
        return pod.ready or self._measure == "running"

    def _fall_back(
        self, question: Question, rule: MetricRule, pods: int, missing: MeasurementMissingError
    ) -> Answer:
        self._monitor.missing(missing.label)
        answered = "error"
        try:
            answer = self._fallback.replace(question, rule, pods, missing)
            answered = answer.origin
            self._monitor.fell_back(answered)
            return answer
        finally:
            log.warning(
                "Failed to get real metrics",
                answered=answered,
                metric=rule.name,
                namespace=question.namespace,
                selector=str(question.selector),
                reason=str(missing),
            )


def _state(pod: Pod) -> str:
    if pod.terminating:
        return "terminating"
    if pod.phase == "Running":
        return "Running but not Ready"
    return pod.phase or "of unknown phase"
