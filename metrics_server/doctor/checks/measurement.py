"""From the selected pods, through their nodes' exporters, to a value, step by step."""

from collections.abc import Sequence

from msgspec import Struct, structs

from metrics_server.common.text import counted
from metrics_server.doctor.asking import Asked
from metrics_server.doctor.checks.selection import selected
from metrics_server.doctor.model import Check, Problem, Verdict, objects, skipped
from metrics_server.doctor.pages import unread_in
from metrics_server.doctor.reader import Reader
from metrics_server.errors import RequestError
from metrics_server.measuring.aggregation import aggregate, rounded
from metrics_server.measuring.samples import Collection
from metrics_server.rules.model import MetricRule
from metrics_server.sources.exporters.source import ExporterSource


class Measured(Struct, frozen=True):
    """What was measured for a question.

    Attributes:
        asked: the question.
        rule: its metric's rule.
        nodes: the nodes of its pods.
        exporters: how many exporters these have.
        missing: the nodes of the pods without a sample.
        collection: what they report.
    """

    asked: Asked
    rule: MetricRule
    nodes: tuple[str, ...]
    exporters: int
    missing: frozenset[str]
    collection: Collection


async def _run(reader: Reader) -> Verdict:
    config, rules = await reader.config(), await reader.rules()
    if why_not := await reader.why_nothing_to_discover():
        return skipped(why_not)
    pods = await reader.pods(reader.subject.namespace)
    found = await reader.found()
    pages = await reader.page_reader()
    source = ExporterSource(found.targets, pages, found.targets.why_none)
    measured: list[Measured] = []
    elsewhere = 0
    for asked in await reader.questions():
        try:
            selection = selected(asked, rules, pods, config.pods.measure)
        except RequestError:
            continue  # the check selection reports it
        rule = structs.replace(rules.find(asked.metric.lower()), series=asked.series)
        if "exporters" not in rule.sources:
            elsewhere += 1
            continue
        nodes = tuple(sorted({pod.node for pod in selection.pods}))
        urls = [url for some in found.targets.on_nodes(nodes).values() for url in some]
        if unread := unread_in((await pages.scrape(urls)).outcomes):
            # The server may well read them.
            return skipped(unread)
        count = len(urls)
        collection = await source.collect(rule, selection.pods)
        covered = {sample.pod for sample in collection.samples}
        missing = frozenset(pod.node for pod in selection.pods if pod.name not in covered)
        measured.append(Measured(asked, rule, nodes, count, missing, collection))
    if not measured and elsewhere:
        return skipped("the metric is not read from exporters: see the check answer")
    return judge(measured, config.fallback.min_coverage)


def judge(measured: Sequence[Measured], min_coverage: float) -> Verdict:
    """Judge what was measured.

    Args:
        measured: the questions, with what was measured for them.
        min_coverage: fallback.minCoverage.
    """
    if not measured:
        return skipped("no pod can be measured")
    problems: list[Problem] = []
    summaries: list[str] = []
    for one in measured:
        collection = one.collection
        steps = (
            f"{one.asked.named}: {counted(collection.selected, 'pod')} on "
            f"{counted(len(one.nodes), 'node')}, {counted(one.exporters, 'exporter')}, "
            f"{counted(len(collection.samples), 'pod')} with a sample"
        )
        try:
            value = aggregate(one.rule, collection, min_coverage).value
        except RequestError:
            summaries.append(f"{steps}, no value")
        else:
            summaries.append(f"{steps}, {rounded(value, one.rule.decimals):g} {one.rule.unit}")
        problems += [_problem(one, gap.reason, gap.text) for gap in collection.gaps[:1]]
    return Verdict("; ".join(summaries), tuple(problems))


def _problem(one: Measured, reason: str, text: str) -> Problem:
    nodes = " ".join(one.nodes)
    fixes = {
        "no-exporter": f"kubectl label nodes {nodes} nvidia.com/gpu=present\n"
        "kubectl -n gpu-monitoring get pods -o wide -l app.kubernetes.io/name=dcgm-exporter",
        "exporters-failed": "kubectl -n gpu-monitoring get pods -o wide "
        "-l app.kubernetes.io/name=dcgm-exporter\n"
        "kubectl -n gpu-monitoring rollout restart daemonset/dcgm-exporter",
    }
    return Problem(
        reason,
        one.asked.named,
        text,
        fixes.get(
            reason,
            "kubectl -n gpu-monitoring logs -l app.kubernetes.io/name=dcgm-exporter --prefix",
        ),
        f"docs/troubleshooting.md#{reason}",
        (*one.asked.objects, *objects("node", sorted(one.missing))),
    )


CHECK = Check(
    name="measurement",
    about="Do the exporters of the pods' nodes have a value for each of the pods?",
    finds=("no-exporter", "exporters-failed", "no-sample"),
    run=_run,
    scope="workload",
)
