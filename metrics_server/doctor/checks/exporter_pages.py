"""Whether the exporters' pages can be read, and are those of a GPU exporter."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from metrics_server.common.text import counted, listed, named, noun_is, printable
from metrics_server.doctor.exporter_pods import ExporterPods, restarts, version_of
from metrics_server.doctor.exporters import Exporter
from metrics_server.doctor.model import Check, Problem, Verdict, objects, skipped
from metrics_server.doctor.pages import NOT_READ, pages_in
from metrics_server.doctor.reader import Reader
from metrics_server.errors import ScrapeError
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import failure

_SEE = "docs/troubleshooting.md#exporters-failed"


async def _run(reader: Reader) -> Verdict:
    if why_not := await reader.why_nothing_to_discover():
        return skipped(why_not)
    found = await reader.found()
    pages, pods = await asyncio.gather(reader.pages(), reader.exporter_pods())
    return judge(found.exporters, pages, pods)


def judge(
    exporters: Mapping[str, Exporter],
    outcomes: Mapping[str, Page | ScrapeError],
    pods: ExporterPods,
) -> Verdict:
    """Judge the exporters' pages.

    Args:
        exporters: the exporters, by URL.
        outcomes: their pages, or why there are none.
        pods: their pods, as far as they could be read.
    """
    pages, errors = pages_in(outcomes)
    if not pages and not errors:
        reasons = [str(one) for one in outcomes.values() if isinstance(one, ScrapeError)]
        return skipped(reasons[0] if reasons else "there is no exporter")
    problems = [*_failures(exporters, errors, pods)]
    dialects: Counter[str] = Counter()
    silent: list[str] = []
    foreign: list[str] = []
    for url, page in pages:
        inventory = page.inventory()
        if inventory.pods:
            version = version_of(pods[url], exporters[url].endpoint.port) if url in pods else ""
            named = f" ({version})" if version else ""
            dialects.update({f"{one.name}{named}" for one in page.dialects_seen()})
        else:
            (foreign if page.body.strip() else silent).append(url)
    if silent:
        problems.append(_silent([exporters[url] for url in silent]))
    if foreign:
        problems.append(_foreign([exporters[url] for url in foreign]))
    kinds = ", ".join(f"{count} of {name}" for name, count in dialects.most_common())
    unread = sum(
        isinstance(one, ScrapeError) and one.reason == NOT_READ for one in outcomes.values()
    )
    more = f"; {unread} not read from here" if unread else ""
    if not pages:
        return Verdict(f"none of {counted(len(errors), 'page')} could be read{more}", (*problems,))
    read = (
        f"{len(pages)} of {len(pages) + len(errors)} pages"
        if errors
        else counted(len(pages), "page")
    )
    return Verdict(f"{read} read: {kinds or 'none of GPUs'}{more}", (*problems,))


def _failures(
    exporters: Mapping[str, Exporter],
    errors: Sequence[tuple[str, ScrapeError]],
    pods: ExporterPods,
) -> Sequence[Problem]:
    if not errors:
        return []
    first = exporters[errors[0][0]]
    command = f"kubectl get endpointslices -A | grep {first.endpoint.host}"
    if first.pod is not None:
        command = f"kubectl -n {first.pod[0]} logs {first.pod[1]}\n"
        command += restarts([url for url, _ in errors], exporters, pods)
    nodes = [exporters[url].endpoint.node for url, _ in errors]
    return [
        Problem(
            "exporters-failed",
            named("exporter", nodes),
            _why(exporters, errors),
            command,
            _SEE,
            objects("node", nodes),
            quoted=tuple(failure(url, error) for url, error in errors),
        )
    ]


def _why(exporters: Mapping[str, Exporter], errors: Sequence[tuple[str, ScrapeError]]) -> str:
    """Return what fails and why, with a reason that several have in common once."""
    alike: dict[str, list[str]] = defaultdict(list)
    for url, error in errors:
        alike[printable(str(error))].append(exporters[url].named)
    return listed([f"{listed(names)}: {text}" for text, names in alike.items()], "; ")


def _silent(exporters: Sequence[Exporter]) -> Problem:
    first = exporters[0]
    where = f"-n {first.pod[0]} {first.pod[1]}" if first.pod else ""
    return Problem(
        "empty-page",
        listed([f"exporter {one.named}" for one in exporters]),
        f"the {noun_is('page', len(exporters))} empty, as is normal for a moment after a start",
        f"kubectl logs {where}   # the driver may not be found",
        "docs/troubleshooting.md#no-sample",
        objects("node", [one.endpoint.node for one in exporters]),
    )


def _foreign(exporters: Sequence[Exporter]) -> Problem:
    return Problem(
        "unknown-exporter",
        listed([f"exporter {one.named}" for one in exporters]),
        "no row has the labels of a known GPU exporter: this is another kind of exporter, no GPU "
        "has been found yet, or the labels must be described under dialects",
        f"curl -s {exporters[0].url} | head   # on a node; then see dialects in docs/reference.md",
        "docs/troubleshooting.md#no-sample",
        objects("node", [one.endpoint.node for one in exporters]),
    )


CHECK = Check(
    name="exporters-failed",
    about="Can the exporters' pages be read, and which dialects and versions do they have?",
    finds=("exporters-failed", "empty-page", "unknown-exporter"),
    run=_run,
)
