"""Exporters omit rows: no missing row changes a pod's value to another."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import pytest
from msgspec import Struct, convert, structs

from metrics_server.kube.pods import Pod
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.gauges import GAUGES
from metrics_server.rules.model import MetricRule
from metrics_server.sources.exporters.dialects import Subject, subject
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.remembering import RememberedRows
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.exporters.targets import StaticTargets
from metrics_server.sources.pages.exposition import parse_labels
from metrics_server.sources.pages.scraper import Scraper, Scrapes
from tests.support.data import DATA
from tests.support.documents import load

pytestmark = pytest.mark.slow

# From a larger page only some rows are left out, from others each in turn. Of the rows that
# no rule reads it keeps one with each labels: they only show which GPUs there are, and whose.
LARGE_BYTES = 70_000
MOST_ROWS = 40
# Rows of parts that no other row of the page numbers: nothing shows that they are missing. And
# the last code of an error at another scope, which is a separate reading.
UNKNOWABLE = {
    ("amd-prefixed", "gpu_sm_clock"),
    ("amd-prefixed", "gpu_gfx_busy_instantaneous"),
    ("dcgm-4.8.4-one-compute-instance", "dcgm_fi_dev_xid_errors"),
}
RULES = [rule for rule in CATALOGUE if not rule.name.endswith(("_max", "_sum"))]
RULES += [
    gauge
    for gauge in GAUGES
    if gauge.name
    in {
        "dcgm_fi_dev_gpu_util",
        "dcgm_fi_dev_fb_used",
        "dcgm_fi_dev_xid_errors",
        "dcgm_fi_prof_gr_engine_active",
        "gpu_gfx_busy_instantaneous",
    }
]
POD = Pod("", "", {}, "", "Running", ready=True, terminating=False, gpus=1)


class NodePod(Struct, frozen=True):
    """A pod in a scenario."""

    pod: str
    node: str = "n1"
    gpus: int = 1


class Scenario(Struct, frozen=True):
    """Pages by node, and pods."""

    nodes: dict[str, list[str]]
    pods: list[NodePod]


class Node(Struct, frozen=True):
    """A node with one exporter.

    Attributes:
        name: the page's name.
        body: the page.
        pods: those that run there.
    """

    name: str
    body: bytes
    pods: tuple[Pod, ...]


def nodes(table: str, folder: str) -> Iterator[Node]:
    """The nodes in a table of scenarios."""
    text = (DATA / table).read_text("utf-8")
    for scenario in convert(load(text), list[Scenario]):
        for node, (page, *more) in (
            (node, pages) for node, pages in scenario.nodes.items() if pages
        ):
            path = DATA / folder / f"{page.removesuffix('.prom')}.prom"
            pods = tuple(
                structs.replace(POD, namespace=namespace, name=name, node=node, gpus=one.gpus)
                for one in scenario.pods
                for namespace, name in [one.pod.split("/")]
                if one.node == node and one.gpus
            )
            if path.exists() and path.read_bytes().endswith(b"\n") and pods and not more:
                yield Node(path.stem, path.read_bytes(), pods)


NODES = [*nodes("golden.yaml", "exporters"), *nodes("cases.yaml", "pages")]


class Shelf(Scraper[Page]):
    """One page that needs no scraping, and the source that reads it.

    Args:
        page: the page; it may be exchanged.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self._source = ExporterSource(StaticTargets(["page"]), self)

    async def scrape(self, targets: Iterable[str], *_: object) -> Scrapes[Page]:
        """The page."""
        return Scrapes(dict.fromkeys(targets, self.page), fresh_until=0)

    async def measure(
        self, rule: MetricRule, pods: Iterable[Pod]
    ) -> Mapping[tuple[str, str], tuple[float, ...]]:
        """The values of each measured pod's GPUs."""
        self.page.parse(rule.readings)  # the source would parse a long one in a thread
        measured: dict[tuple[str, str], tuple[float, ...]] = {}
        for namespace, some in groupby(sorted(pods, key=namespace_of), namespace_of):
            found = await self._source.collect(rule, tuple(some))
            measured |= {(namespace, sample.pod): sample.gpus for sample in found.samples}
        return measured


def namespace_of(pod: Pod) -> str:
    """The namespace of a pod."""
    return pod.namespace


def subject_of(line: bytes) -> Subject | None:
    """The subject of a line on a page."""
    row = re.match(rb"[a-zA-Z_:][\w:]*\{(.*)\} ", line)
    return subject(parse_labels(row[1].decode())) if row else None


def lines_of(body: bytes) -> list[bytes]:
    """The lines of a page; of a large one, those that a rule reads, and one with each labels."""
    lines = body.splitlines(keepends=True)
    if len(body) <= LARGE_BYTES:
        return lines
    kept = []
    seen: set[bytes] = set()
    for line in lines:
        labels = line.partition(b"{")[2].rpartition(b"}")[0]
        if any(is_read(line, rule) for rule in RULES):
            kept.append(line)
        elif labels not in seen:
            seen.add(labels)
            kept.append(line)
    return kept


def is_read(line: bytes, rule: MetricRule) -> bool:
    """Whether the rule reads a line's family."""
    family = line.partition(b"{")[0].decode()
    readings = [*rule.readings, *(one.unless for one in rule.readings if one.unless)]
    read = {name for one in readings for name in (one.family, *one.divided_by)}
    return any(family.endswith(name) for name in read)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
async def test_no_row_that_is_left_out_makes_another_number(node: Node) -> None:
    """A pod's value is unchanged, missing, or that of another reading of the rule."""
    lines = lines_of(node.body)
    measured = [subject_of(line) for line in lines]
    remembered = RememberedRows()  # as of an exporter that is scraped again and again
    shelf = Shelf(Page("page", b"".join(lines), 0, remembered=remembered))
    allowed: dict[str, list[Mapping[tuple[str, str], tuple[float, ...]]]] = {}
    readers: dict[int, list[MetricRule]] = {}
    for rule in RULES:
        if (node.name, rule.name) in UNKNOWABLE:
            continue
        rows = [i for i, line in enumerate(lines) if measured[i] and is_read(line, rule)]
        if len(node.body) > LARGE_BYTES:
            rows = rows[:: len(rows) // MOST_ROWS + 1]
        for i in rows:
            readers.setdefault(i, []).append(rule)
        alone = [structs.replace(rule, readings=(one,)) for one in rule.readings]
        allowed[rule.name] = [await shelf.measure(one, node.pods) for one in (rule, *alone)]
    wrong = []
    for i, rules in readers.items():
        body = b"".join([*lines[:i], *lines[i + 1 :]])
        shelf.page = Page("page", body, 0, remembered=remembered)
        for rule in rules:
            for pod, values in (await shelf.measure(rule, node.pods)).items():
                if pod not in allowed[rule.name][0]:
                    continue  # the row left out may have made this pod's value missing
                right = [one[pod] for one in allowed[rule.name] if pod in one]
                if not are_of(values, right):
                    wrong.append(f"{rule.name} of {pod}: {values} and not {right} {lines[i]!r}")
    assert not wrong, "\n".join(wrong)


def are_of(values: tuple[float, ...], allowed: list[tuple[float, ...]]) -> bool:
    """Whether each GPU's value is that of some reading."""
    same = [one for one in allowed if len(one) == len(values)]
    return bool(same) and all(
        any(one[i] == value for one in same) for i, value in enumerate(values)
    )
