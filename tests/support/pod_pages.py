"""The value of a pod by its pages."""

from metrics_server.rules.model import MetricRule
from metrics_server.sources.pods.history import History
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.series import NoValue, value_of


def value_by(page: PodPage, rule: MetricRule, history: History | None = None) -> float | NoValue:
    """The value of a pod with one page."""
    part = page.part(rule, "default", History() if history is None else history)
    return part if isinstance(part, NoValue) else value_of(rule, [part])
