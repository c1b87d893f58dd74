"""Which GPUs of a pod a question's series selector matches, by the labels of their rows.

A GPU matches or not as a whole, by all rows that a page has for it and the pod, whatever they
measure: the rows of one family do not show which GPUs a pod has. A label that differs between them,
such as the code of an error, cannot select GPUs.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct

from metrics_server.common.text import named, printable
from metrics_server.kube.pods import Pod
from metrics_server.measuring.samples import Gap
from metrics_server.rules.model import MetricRule
from metrics_server.rules.series import SeriesMatcher
from metrics_server.sources.exporters.dialects import PodName
from metrics_server.sources.exporters.inventory import LabelOfGpus
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.unmatched import gap_of_series

# How many pages are searched for the labels that an error names.
_MAX_PAGES = 16
_MAX_SHOWN = 63


class Choice(Struct, frozen=True):
    """The selector's effect on a pod.

    Attributes:
        left_out: the GPUs that do not match.
        unclear: why that is not known of a GPU, as a clause; "" if it is known of all.
        is_unlabelled: whether that is because the page has the label on no row.
    """

    left_out: frozenset[str] = frozenset()
    unclear: str = ""
    is_unlabelled: bool = False


_ALL = Choice()


class Unmatched:
    """Chooses among the GPUs of the pods of one question, and remembers which pods have none.

    Args:
        rule: the metric's rule, with the question's series selector.

    Attributes:
        excluded: the names of the pods none of whose GPUs matches.
    """

    def __init__(self, rule: MetricRule) -> None:
        self.excluded: set[str] = set()
        self._series = rule.series
        self._matcher = SeriesMatcher(rule.series) if rule.series else None
        # With the pages that may describe them.
        self._pods: dict[PodName, Sequence[Page]] = {}
        self._unclear: dict[str, list[str]] = {}

    def choose(self, pod: Pod, pages: Sequence[Page]) -> Choice:
        """Return which GPUs of a pod do not match, by the pages that may describe it."""
        if self._matcher is None:
            return _ALL
        name = (pod.namespace, pod.name)
        choice = _choose(name, pages, self._matcher)
        if choice.unclear:
            self._unclear.setdefault(choice.unclear, []).append(pod.name)
        if choice.is_unlabelled:
            self._pods[name] = pages
        return choice

    def exclude(self, pod: Pod, pages: Sequence[Page]) -> None:
        """Remember that no GPU of a pod matches."""
        self.excluded.add(pod.name)
        self._pods[pod.namespace, pod.name] = pages

    def gaps(self, pods: int) -> Iterator[Gap]:
        """Return why there is no sample, as far as the selector explains it.

        Args:
            pods: how many pods were to be measured.

        Raises:
            NoSeriesMatchesError: the selector leaves out all of them.
        """
        if self._pods:
            is_all = len(self._pods) == pods
            yield gap_of_series(self._series, "no GPU", self._labels(), is_all=is_all)
        for why, names in self._unclear.items():
            yield Gap("no-sample", f"{named('pod', names)}: {why}")

    def _labels(self) -> Iterator[Mapping[str, str]]:
        """Return the labels of the rows of these pods, and of no others."""
        pages = {id(page): page for pages in self._pods.values() for page in pages}
        for page in islice(pages.values(), _MAX_PAGES):
            for one in page.gpu_rows():
                if one.subject.pod in self._pods:
                    yield {name: value for name, value in one.labels.items() if value}


def _choose(pod: PodName, pages: Sequence[Page], matcher: SeriesMatcher) -> Choice:
    """Return which GPUs of a pod do not match."""
    matches: dict[str, bool] = {}
    for page in pages:
        labels = {one.label: page.label(one.label) for one in matcher.selector.requirements}
        for gpu in _gpus_of(pod, page, labels):
            values: dict[str, str] = {}
            for name, label in labels.items():
                value = label.values.get((gpu, pod))
                if value is None:
                    return Choice(
                        unclear=f"the rows of one GPU differ in the label {_shown(name)}, which "
                        "therefore cannot select GPUs"
                    )
                values[name] = value
            is_match = matcher.matches(values)
            for one in matcher.selector.requirements:
                if one.needs_label and not values[one.label] and not labels[one.label].is_known:
                    return Choice(
                        unclear=f"no row of its GPUs has the label {_shown(one.label)}",
                        is_unlabelled=True,
                    )
            if matches.setdefault(gpu, is_match) != is_match:
                return Choice(unclear=f"two exporters differ in the labels of GPU {_shown(gpu)}")
    return Choice(frozenset(gpu for gpu, is_match in matches.items() if not is_match))


def _gpus_of(pod: PodName, page: Page, labels: Mapping[str, LabelOfGpus]) -> set[str]:
    """Return every GPU of a pod, including one whose instance it also has."""
    inventory = page.inventory()
    holding = inventory.by_pod.get(pod)
    if holding is None:
        return set()
    wholes = {inventory.wholes[gpu] for gpu in holding.gpus if gpu in inventory.wholes}
    values = next(iter(labels.values())).values
    return {*holding.gpus, *(whole for whole in wholes if (whole, pod) in values)}


def _shown(text: str) -> str:
    return printable(text, _MAX_SHOWN)
