"""Explains why pages have no value for a pod, for the reader of `kubectl describe hpa`."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import chain, islice

import structlog
from msgspec import Struct

from metrics_server.common.text import counted, printable
from metrics_server.kube.pods import Pod
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.rules.presets import HINTS
from metrics_server.rules.vendors.vendor import Hints
from metrics_server.sources.exporters.dialects import subject
from metrics_server.sources.exporters.inventory import Inventory
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.pod_mapper import Attribution
from metrics_server.sources.pages.exposition import Row, parse_labels, rows
from metrics_server.sources.turns import Turns

# How many pods are examined one by one: a message names only a few.
_EXPLAINED = 20
_NAMES_SHOWN = 3
_LABELS_SHOWN = 5
_LONGEST_NAME = 63
# How many rows of a family have their labels examined.
_ROWS_READ = 20

# For an exporter whose vendor has no hints.
_COMMON_HINTS = next(iter(HINTS.values()))

log = structlog.stdlib.get_logger(__name__)


class _Read(Struct, frozen=True):
    page: Page
    attribution: Attribution
    inventory: Inventory


PagesOfPod = tuple[Pod, Sequence[Page]]
"""A pod without a sample, with the pages of its exporters, all of which answered."""


async def hints(rule: MetricRule, without: Sequence[PagesOfPod]) -> AsyncIterator[str]:
    """Return the reasons that the pages show, each as a clause, the most specific first.

    Of many pods, the pages of the first few are examined more closely.

    Args:
        rule: the rule of the requested metric.
        without: the pods without a sample; all in one namespace.
    """
    turns = Turns()
    every: list[tuple[Page, Attribution]] = []
    for page in _pages_of(without):
        await turns.end_if_over()
        every.append((page, page.attribution(rule.readings)))
    read: list[_Read] = []
    for page in _pages_of(without[:_EXPLAINED]):
        await turns.end_if_over()
        read.append(_Read(page, page.attribution(rule.readings), page.inventory()))
    if any(not page.size for page, _ in every):
        yield "a page was empty, as is normal until a new exporter's first interval has passed"
    for one in read:
        if one.page.size and _is_silent(one):
            yield await _of_silent(rule, one, turns)
            break
    pods = [pod for pod, _ in without[:_EXPLAINED]]
    for clause in _of_names(pods, read):
        yield clause
    if reason := await _of_where(rule, pods, read, turns):
        yield reason
    for clause in chain(_of_pods(pods, [one for _, one in every]), _of_values(every)):
        yield clause


def _pages_of(pods: Iterable[PagesOfPod]) -> Iterable[Page]:
    """Return the pages of pods, each once."""
    return {id(page): page for _, pages in pods for page in pages}.values()


def _of_values(every: Sequence[tuple[Page, Attribution]]) -> Iterator[str]:
    """Report how many values were rejected, by the reason."""
    attributions = [one for _, one in every]
    if rejected := sum(one.rejected for one in attributions):
        yield f"values rejected as out of range: {rejected}"
    if conflicting := sum(one.conflicting for one in attributions):
        yield f"GPUs rejected for having two different values: {conflicting}"
    if contradicted := sum(one.contradicted for one in attributions):
        yield f"GPUs that are idle in one family and busy in another: {contradicted}"
    if partial := sum(one.partial for one in attributions):
        yield f"GPUs with values for only some of their compute dies or instances: {partial}"
    if ambiguous := sum(one.ambiguous for one in attributions):
        vendor = _hints_of(page for page, one in every if one.ambiguous)
        known = f", as {vendor.duplicates} writes them" if vendor.duplicates else ""
        yield (
            f"{'1 row has' if ambiguous == 1 else f'{ambiguous} rows have'} the same label "
            f"twice{known} for a pod with a label named like one of "
            "the exporter's own: rename the pod's label, or upgrade the exporter"
        )


def _hints_of(pages: Iterable[Page]) -> Hints:
    """Return the hints for the exporter of the first page, by the dialect of its rows."""
    seen = (dialect.name for page in islice(pages, 1) for dialect in page.dialects_seen())
    return next((HINTS[name] for name in seen if name in HINTS), _COMMON_HINTS)


def _is_silent(one: _Read) -> bool:
    """Return whether the page has no GPU row that the rule reads."""
    found = one.attribution
    return not (found.unattributed or found.ambiguous or found.names_pods)


async def _of_silent(rule: MetricRule, one: _Read, turns: Turns) -> str:
    """Return why the page has no row that the rule reads."""
    body = one.page.body
    for reading in rule.readings:
        await turns.end_if_over()
        some = rows(body, reading.family)[:_ROWS_READ]
        found = [parse_labels(row.labels) for row in some]
        if found and not any(subject(labels, one.page.dialects) for labels in found):
            names = ", ".join(
                printable(name, _LONGEST_NAME) for name in islice(found[0], _LABELS_SHOWN)
            )
            return (
                f"the page has rows of {reading.family}, but their labels ({names or 'none'}) "
                "match no known exporter: describe them under dialects"
            )
    if not one.inventory.by_pod and not one.inventory.free:
        return (
            "a page lists no GPUs, as is normal while an exporter starts or reloads, until its "
            "first interval has passed"
        )
    return (
        f"a page has no GPU rows in any family that {rule.name} is read from, such as "
        f"{rule.readings[0].family}: add one to the exporter's list of metrics"
    )


async def _of_where(
    rule: MetricRule, pods: Sequence[Pod], read: Sequence[_Read], turns: Turns
) -> str:
    """Report the first reading whose rows all lack the labels that it requires; "" if none does."""
    names = {(pod.namespace, pod.name) for pod in pods}
    left = [reading for reading in rule.readings if reading.where]
    reason = ""
    for one in read:
        if not left or names.isdisjoint(one.attribution.incomplete):
            continue
        # Decompressed once for each page, not for each reading.
        body = one.page.body
        for number, reading in enumerate(left):
            await turns.end_if_over()
            found = rows(body, reading.family)
            if found and not await _any_has(reading, found, turns):
                wanted = " and ".join(f'{name}="{value}"' for name, value in reading.where)
                reason = f"no row of {reading.family} has {wanted}"
                # On the other pages, only an earlier reading would come first.
                del left[number:]
                break
    return reason


async def _any_has(reading: Reading, found: Iterable[Row], turns: Turns) -> bool:
    """Return whether any row has the labels that the reading requires."""
    wanted = dict(reading.where).items()
    for row in found:
        await turns.next()
        if wanted <= parse_labels(row.labels).items():
            return True
    return False


def _of_names(pods: Sequence[Pod], read: Sequence[_Read]) -> Iterator[str]:
    """Report pages that name no pods, or other pods than these."""
    claims = any(pod.shareable for pod in pods)
    nameless = [one.page for one in read if one.inventory.free and not one.inventory.by_pod]
    vendor = _hints_of(nameless or (one.page for one in read if one.inventory.by_pod))
    claims_hint = f", and {vendor.claims} for ResourceClaims" if claims and vendor.claims else ""
    if nameless:
        yield f"the page names no pods at all: the exporter needs {vendor.pods}{claims_hint}"
        return
    named = {pod for one in read for pod in one.inventory.by_pod}
    free = sum(one.inventory.free for one in read)
    for pod in pods:
        if not named or (pod.namespace, pod.name) in named:
            continue
        others = [namespace for namespace, name in named if name == pod.name]
        if others:
            # Callers in this namespace may not be allowed to know about the other one.
            log.info("pod named in another namespace", pod=pod.name, namespaces=_named(others))
            yield f"the page names a pod {pod.name}, but not in namespace {pod.namespace}"
        else:
            setting = f" ({vendor.resources})" if vendor.resources else ""
            unnamed = f", and no pod for {free} of the GPUs" if free else ""
            yield (
                f"the page names other pods, but not pod {pod.name}{unnamed}: the pod has only "
                "just started, or its GPU belongs to a sidecar or to a resource that the exporter "
                f"is not configured to look for{setting}{claims_hint}"
            )
        return


def _of_pods(pods: Sequence[Pod], attributions: Sequence[Attribution]) -> Iterator[str]:
    """Report problems of single pods, each kind once, for the first pod that has it."""
    partly = other_node = too_few = False
    for pod in pods:
        name = (pod.namespace, pod.name)
        having = [one for one in attributions if name in one.by_pod]
        missing = {gpu for one in having for gpu in one.incomplete.get(name, ())}
        known = {gpu for one in having for gpu in one.by_pod[name]}
        hosts = {host for one in having for host in one.hosts}
        requested = pod.gpus - pod.shareable
        if missing - known:
            if not partly:
                yield (
                    f"pod {pod.name} has values for {len(known)} of its {len(known | missing)} "
                    "GPUs, and a mean over only some of them is not the pod's value"
                )
            partly = True
        elif len(having) > 1 or hosts - {pod.node}:
            if not other_node:
                yield (
                    f"pod {pod.name} runs on node {pod.node}, but the exporters that name it "
                    f"({len(having)}) report {f'node {_named(hosts)}' if hosts else 'no node'}"
                )
            other_node = True
        elif known and len(known) != requested and not too_few:
            yield (
                f"pod {pod.name} requests {counted(requested, 'GPU')}, but the exporters report "
                f"values for {len(known)}: an exporter omits GPUs that it cannot read"
            )
            too_few = True


def _named(names: Iterable[str]) -> str:
    """Return the first few of the names, each cut to the length of a Kubernetes name."""
    return ", ".join(printable(name, _LONGEST_NAME) for name in sorted(names)[:_NAMES_SHOWN])
