"""The value of a pod according to its pages."""

from metrics_server.rules.model import MetricRule
from metrics_server.rules.series import SeriesMatcher
from metrics_server.sources.pods.history import History
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.rows import Excluded, NoValue
from metrics_server.sources.pods.selected import SelectedPage
from metrics_server.sources.pods.series import Part, value_of


def value_by(
    page: PodPage,
    rule: MetricRule,
    history: History | None = None,
    matcher: SeriesMatcher | None = None,
) -> float | NoValue | Excluded:
    """The value of a pod with one page."""
    selected = SelectedPage(page, matcher) if matcher else None
    part = page.part(rule, "default", History() if history is None else history, selected)
    return value_of(rule, [part]) if isinstance(part, Part) else part
