"""How often the exporters' values change."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from metrics_server.common.text import listed
from metrics_server.doctor.exporter_pods import ExporterPods, main_daemon_set
from metrics_server.doctor.exporters import Exporter
from metrics_server.doctor.model import Check, Problem, Verdict, skipped
from metrics_server.doctor.pages import PageReader, pages_in
from metrics_server.doctor.reader import Reader
from metrics_server.errors import ScrapeError
from metrics_server.sources.exporters.dialects import subject
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.exposition import parse_labels

MOST_SECONDS = 10.0
"""An HPA asks every 15 s; dcgm-exporter collects every 30 s by default."""

_MOST_EXPORTERS = 3
_STEP_SECONDS = 1.0


async def _run(reader: Reader) -> Verdict:
    watched = reader.subject.interval
    found = await reader.found()
    pages, _ = pages_in(await reader.pages())
    # Idle GPUs may report the same for hours.
    busy = [url for url, page in pages if page.inventory().by_pod][:_MOST_EXPORTERS]
    page_reader = await reader.page_reader()
    changes = await asyncio.gather(*(_changes(page_reader, url, watched) for url in busy))
    pods = await reader.exporter_pods()
    return judge(found.exporters, dict(zip(busy, changes, strict=True)), watched, pods)


async def _changes(pages: PageReader, url: str, seconds: float) -> Sequence[float]:
    """Return when the values of a page changed, up to the second time."""
    began = time.monotonic()
    times: list[float] = []
    before: frozenset[str] | None = None
    while (elapsed := time.monotonic() - began) < seconds and len(times) < 2:  # noqa: PLR2004
        page = await pages.read(url)
        if isinstance(page, ScrapeError):
            break
        now = gpu_rows(page)
        if before is not None and now != before:
            times.append(elapsed)
        before = now
        await asyncio.sleep(_STEP_SECONDS)
    return times


def gpu_rows(page: Page) -> frozenset[str]:
    """Return the rows of a page that are about GPUs (pure).

    The others may be about the exporter itself, such as its processor time, and always change.
    """
    return frozenset(
        line
        for line in page.body.decode(errors="replace").splitlines()
        if not line.startswith("#") and _is_of_gpu(line, page)
    )


def _is_of_gpu(line: str, page: Page) -> bool:
    labels = line.partition("{")[2].rpartition("}")[0]
    return bool(labels) and subject(parse_labels(labels), page.dialects) is not None


def judge(
    exporters: Mapping[str, Exporter],
    changes: Mapping[str, Sequence[float]],
    watched: float,
    pods: ExporterPods,
) -> Verdict:
    """Judge how often values change: the time between two changes.

    Args:
        exporters: the exporters, by URL.
        changes: when the values of some of them changed, in seconds, up to the second time.
        watched: how long they were watched.
        pods: the exporters' pods, as far as they could be read.
    """
    if not changes:
        return skipped("no page that names a pod was read")
    slow = {
        url: interval
        for url, times in changes.items()
        if (interval := _interval(times, watched)) > MOST_SECONDS
    }
    known = [times[1] - times[0] for times in changes.values() if len(times) > 1]
    if not slow:
        if len(known) == len(changes):
            return Verdict(f"values change about every {max(known):.2g} s")
        return Verdict(
            f"values did not change twice within {watched:g} s: --measure-interval 40s shows how "
            "often they change"
        )
    names = listed([f"exporter {exporters[url].named}" for url in slow])
    found = main_daemon_set(slow, pods)
    problem = Problem(
        "exporter-interval",
        names,
        f"values change every {max(slow.values()):.0f} s or less often: the HPA sees the same "
        "value several times, and reacts late",
        f"{found.command} set env {found.resource} DCGM_EXPORTER_INTERVAL=1000",
        "docs/troubleshooting.md#the-value-lags-or-repeats",
    )
    return Verdict("values lag", (problem,))


def _interval(times: Sequence[float], watched: float) -> float:
    """Return the time between two changes, or the least that it can be."""
    match times:
        case [first, second, *_]:
            return second - first
        case [first]:
            return watched - first
    return watched


CHECK = Check(
    name="exporter-interval",
    about="How often do the exporters' values change, as far as `--measure-interval` shows?",
    finds=("exporter-interval",),
    run=_run,
)
