"""Metrics whose values are read when they are collected."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

PREFIX = "gpu_metrics_server"


class Settling(Collector):
    """Has no metrics; called before the others are collected."""

    def __init__(self, settle: Callable[[], None]) -> None:
        self._settle = settle

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Apply what is pending."""
        self._settle()
        return ()


class LogCollector(Collector):
    """Reports dropped log lines."""

    def __init__(self, dropped: Callable[[], int]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the metrics."""
        yield CounterMetricFamily(
            f"{PREFIX}_log_lines_dropped",
            "Log lines dropped because nobody read them.",
            value=self._dropped(),
        )


class AheadCollector(Collector):
    """Reports what was read ahead."""

    def __init__(
        self, pages: Callable[[], int], questions: Mapping[str, Callable[[], int]]
    ) -> None:
        self._pages = pages
        self._questions = questions

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the metrics."""
        yield CounterMetricFamily(
            f"{PREFIX}_pages_read_ahead",
            "Pages read before an HPA was expected to ask for them.",
            value=self._pages(),
        )
        family = CounterMetricFamily(
            f"{PREFIX}_questions_prepared",
            "Questions whose pages were read ahead: used if asked in time, otherwise unused.",
            labels=("outcome",),
        )
        for outcome, count in self._questions.items():
            family.add_metric((outcome,), count())
        yield family


class FindingCollector(Collector):
    """Reports findings about HPAs."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the metrics."""
        family = GaugeMetricFamily(
            f"{PREFIX}_hpa_findings",
            "What is wrong with HPAs now, by the reason of their Warning events.",
            labels=("reason",),
        )
        for reason, count in self._counts().items():
            family.add_metric((reason,), count)
        yield family


class WatchCollector(Collector):
    """Reports restarts of watches."""

    def __init__(self, restarts: Mapping[str, Callable[[], int]]) -> None:
        self._restarts = restarts

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the metrics."""
        family = CounterMetricFamily(
            f"{PREFIX}_watch_restarts",
            "Restarts of watches of the Kubernetes API, by resource.",
            labels=("resource",),
        )
        for resource, count in self._restarts.items():
            family.add_metric((resource,), count())
        yield family
