"""The product on one page: an HPA's question in, the GPU utilization of its pods out.

The questions come from `api`: of an External metric, a Pods metric or an Object metric.

1. `rules` says where the metric is read and how it is aggregated.
2. `selection` picks the pods, as the HPA controller counts them: Running, Ready, and requesting a
   GPU if a GPU is measured. They come from `kube.pods`, which `kube.reflector` keeps in sync with
   the cluster.
3. A source measures them now. `sources.exporters` finds the GPU exporters on their nodes
   (`targets`), scrapes them (`sources.pages.scraper`), and attributes the samples on their pages
   to pods (`pod_mapper`). `sources.pods` scrapes the pods themselves.
4. `aggregation` turns the samples into one number, and into one for each pod if the question
   asks for them; `windows` averages over time, for rules with a window.
5. If too few pods have a sample, `fallback` decides, and `incidents` keeps track of how long that
   lasts. For single pods, one sample is enough.

`rhythms` learns when a question will be asked again, and `ahead` reads its pages just before.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct, structs

from metrics_server.common.weight import BytesLRU, weight
from metrics_server.errors import MeasurementMissingError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.aggregation import aggregate, answer_of
from metrics_server.measuring.fallback import FallbackChain
from metrics_server.measuring.incidents import Incidents
from metrics_server.measuring.samples import Answer, Measurement, MetricSource, Question
from metrics_server.measuring.selection import Measure, Selection, select
from metrics_server.measuring.windows import Windows
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule
from metrics_server.rules.series import SeriesSelector
from metrics_server.telemetry.metrics import Monitor

# For the cached answers: far more than the HPAs of the largest clusters need.
_MAX_KNOWN_BYTES = 32 * 1024 * 1024
_MAX_QUESTION_BYTES = 16 * 1024
_POINTER_BYTES = 8
# The bytes of a pod's value in an answer, with its numbers; the name is the pod's own.
_VALUE_BYTES = 128


class Pods(Protocol):
    """The pods of the cluster."""

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """Every pod of a namespace: the same tuple until one of them changes."""
        ...


class _Known(Struct, frozen=True):
    """A cached answer, valid as long as these are the pods."""

    answer: Answer
    pods: tuple[Pod, ...]
    fresh_until: float


class MetricsProvider:
    """Answers questions about metrics, of any form.

    Args:
        rules: the metrics that can be asked for.
        pods: the pods that can be selected.
        measure: "ready" measures Ready pods; "running" also those that are Running but not Ready.
            The HPA multiplies a Value by its count of Ready pods, so a model that is still
            loading at 0 % would pull the mean down and shrink the workload as it grows.
        source: where a pod's measurement comes from.
        min_coverage: the share of the selected pods that must have a sample, from 0 to 1.
        windows: averages the answers of rules that have a window.
        fallback: replaces a missing measurement.
        incidents: keeps track of questions without a measurement.
        monitor: counts answers, by how they came about.
        answered: called with each question that was answered by a measurement, the time when it was
            asked, and how many pods it selects.
        clock: seconds, on a monotonic clock.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        pods: Pods,
        measure: Measure,
        source: MetricSource,
        min_coverage: float,
        windows: Windows,
        fallback: FallbackChain,
        incidents: Incidents,
        monitor: Monitor,
        answered: Callable[[Question, float, int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._pods = pods
        self._measure = measure
        self._source = source
        self._min_coverage = min_coverage
        self._windows = windows
        self._fallback = fallback
        self._incidents = incidents
        self._monitor = monitor
        self._answered = answered
        self._clock = clock
        self._known: BytesLRU[Question, _Known] = BytesLRU(_MAX_KNOWN_BYTES)

    def __len__(self) -> int:
        """How many answers are cached."""
        return len(self._known)

    def check(self, namespace: str, metric: str) -> None:
        """Check that a metric can be asked for in a namespace.

        Raises:
            UnknownMetricError: no rule has the metric's name.
            CounterAskedError: the name is that of an exporter's counter.
            RequestError: the pods of the namespace are not known.
        """
        self._rules.find(metric)
        self._pods.in_namespace(namespace)

    def pods_of(self, question: Question) -> tuple[MetricRule, Sequence[Pod]]:
        """The rule of a question, and the pods that it selects now.

        Raises:
            RequestError: the question has no answer.
        """
        rule = _for_form(self._rules.find(question.metric), question)
        pods = self._pods.in_namespace(question.namespace)
        return rule, self._select(question, rule, pods).pods

    async def answer(self, question: Question) -> Answer:
        """The value of a metric over the pods that the question selects, or for each of them.

        Raises:
            UnknownMetricError: no rule has the metric's name.
            CounterAskedError: the name is that of an exporter's counter.
            NoPodMatchesError: the selector matches no pod of the namespace.
            NoGpuRequestedError: none of the matching pods requests a GPU.
            NoPodMeasurableError: none of the GPU pods is Running and Ready, apart from terminating
                ones.
            NoSeriesMatchesError: no row of these pods matches the question's series selector.
            AmbiguousSeriesError: it names two values on their pages at once.
            MeasurementMissingError: too few of those have a sample, and no fallback answers.
        """
        asked = self._clock()
        known = self._known.get(question)
        if (
            known is None
            or known.fresh_until <= asked
            or known.pods is not self._pods.in_namespace(question.namespace)
        ):
            rule = _for_form(self._rules.find(question.metric), question)
            pods = self._pods.in_namespace(question.namespace)
            selection = self._select(question, rule, pods)
            again = partial(self._measurement_again, question, rule)
            if rule.window and rule.is_over_time and rule.sources[0] != "prometheus":
                # Before there is a value: the first scrape alone does not give one.
                self._keep_scraping(question, rule)
            try:
                measured = await self._measurement(question, rule, selection)
            except MeasurementMissingError as missing:
                return self._fall_back(question, rule, selection, missing)
            if rule.window and not rule.is_over_time:
                measured = self._windows.mean(question, rule, measured, again)
            answer = answer_of(rule, measured, question.form)
            self._incidents.measured(question, selection.pods, answer.source)
            if not answer.pods:
                self._fallback.remember(question, answer, selection)
            known = _Known(answer, pods, measured.fresh_until)
            self._keep(question, known)
        answer = known.answer
        self._monitor.measured(
            age=self._clock() - answer.timestamp, covered=answer.covered, selected=answer.selected
        )
        if self._answered is not None:
            self._answered(question, asked, answer.selected)
        return answer

    def _keep_scraping(self, question: Question, rule: MetricRule) -> None:
        """Measure the question's pods repeatedly, once for all series selectors.

        The scrapes of all series are remembered, whichever of them a question selects.
        """
        whole = structs.replace(question, series=SeriesSelector())
        rule = structs.replace(rule, series=whole.series)
        self._windows.keep_measuring(whole, rule, partial(self._measurement_again, whole, rule))

    def _keep(self, question: Question, known: _Known) -> None:
        """Cache an answer, unless its selector is longer than any HPA's."""
        if (size := weight(question)) <= _MAX_QUESTION_BYTES:
            # The cluster's present pods, or pods that only this entry keeps alive.
            size += _POINTER_BYTES * len(known.pods)
            values = known.answer.pods
            size += weight(structs.replace(known.answer, pods=())) + _VALUE_BYTES * len(values)
            self._known.put(question, known, size)

    def _select(self, question: Question, rule: MetricRule, pods: tuple[Pod, ...]) -> Selection:
        with_gpu = rule.measures == "gpus"
        return select(question, pods, self._measure, with_gpu=with_gpu)

    async def _measurement(
        self, question: Question, rule: MetricRule, selection: Selection
    ) -> Measurement:
        """The measurement of these pods now."""
        collection = await self._source.collect(rule, selection.pods)
        coverage = 0 if question.form == "pods" else self._min_coverage
        leaving = selection.leaving_without(collection.excluded)
        return aggregate(rule, collection, coverage, leaving)

    async def _measurement_again(self, question: Question, rule: MetricRule) -> Measurement:
        """A later measurement, of the pods selected by then, for a window."""
        pods = self._pods.in_namespace(question.namespace)
        return await self._measurement(question, rule, self._select(question, rule, pods))

    def _fall_back(
        self,
        question: Question,
        rule: MetricRule,
        selection: Selection,
        missing: MeasurementMissingError,
    ) -> Answer:
        self._monitor.missing(missing.reason)
        answered = "error"
        try:
            answer = self._fallback.replace(question, rule, selection, missing)
            answered = answer.source
            self._monitor.fell_back(answered)
            return answer
        finally:
            self._incidents.missing(question, selection.pods, answered, missing)


def _for_form(rule: MetricRule, question: Question) -> MetricRule:
    """The rule for a question, with its series selector.

    Over single pods, the HPA controller takes the mean itself.
    """
    if question.form == "pods" and rule.over_pods != "avg":
        rule = structs.replace(rule, over_pods="avg")
    return structs.replace(rule, series=question.series) if question.series else rule
