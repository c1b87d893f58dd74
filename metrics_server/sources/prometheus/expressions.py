"""How old the samples are that an expression in PromQL reads."""

from collections.abc import Mapping, Sequence

from metrics_server.rules.expressions import Expression, Selector
from metrics_server.sources.prometheus.promql import quoted
from metrics_server.sources.prometheus.selectors import any_of
from metrics_server.sources.prometheus.vector import Series

SELECTOR = "gpu_metrics_server_selector"
"""The label with the number of a selector, in the result of `query_of_times`."""


def query_of_times(expression: Expression, label: str | None) -> str:
    """Return a query for the times of the samples that each selector finds.

    For current samples it is the time of the oldest. For a range it is that of the newest, or 0 if
    its series have ended, whose times Prometheus does not return.

    Args:
        expression: what is to be evaluated.
        label: the label with the name of the pod, for the times of each pod; or None.
    """
    by = "" if label is None else f" by ({label})"
    return any_of(
        f'label_replace({_times(one, by, expression)},"{SELECTOR}",{quoted(str(number))},"","")'
        for number, one in enumerate(expression.selectors)
    )


def _times(one: Selector, by: str, expression: Expression) -> str:
    present = f"timestamp({one.text})"
    if not one.reach:
        return f"min{by} ({present})"
    ended = f"0 * count_over_time({one.text}[{one.reach * 1000:.0f}ms])"
    if expression.reads_last:
        return f"min{by} ({present} or {ended})"
    return f"max{by} ({present}) or min{by} ({ended})"


class Times:
    """The times of the samples that an expression reads.

    Args:
        expression: the expression.
        label: the label with the name of the pod; or None.
        found: the result of `query_of_times`.
    """

    def __init__(self, expression: Expression, label: str | None, found: Sequence[Series]) -> None:
        self._is_apart = label is None or expression.keeps_apart(label)
        self._are_present = [not one.reach or expression.reads_last for one in expression.selectors]
        of_selectors: dict[str, dict[str, float]] = {}
        for one in found:
            of_selector = of_selectors.setdefault(one.labels.get(SELECTOR, ""), {})
            of_selector[one.labels.get(label or "", "")] = one.value
        self._of_selectors: Sequence[Mapping[str, float]] = [
            of_selectors.get(str(number), {}) for number in range(len(expression.selectors))
        ]
        # What every pod's time may depend on is found once for all.
        self._of_all = [
            (min(of_pods.values(), default=0.0), max(of_pods.values(), default=0.0))
            for of_pods in self._of_selectors
        ]

    def own(self, pod: str) -> float | None:
        """Return the oldest time of a pod's own samples; None if it has none."""
        return min((times[pod] for times in self._of_selectors if pod in times), default=None)

    def oldest(self, pod: str = "") -> float | None:
        """Return the oldest time that the value of a pod depends on; None without any sample.

        If the value may depend on the samples of other pods, too, these count as well; of a range,
        only if the pod has none of its own.
        """
        known: list[float] = []
        for of_pods, (first, last), is_present in zip(
            self._of_selectors, self._of_all, self._are_present, strict=True
        ):
            own = [of_pods[name] for name in (pod, "") if name in of_pods]
            if not self._is_apart and of_pods:
                if is_present:
                    own = [first]
                elif not own:
                    own = [last]
            known += own
        return min(known, default=None)
