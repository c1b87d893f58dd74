"""How often the exporters' values change."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from msgspec import Struct

from metrics_server.common.text import listed
from metrics_server.doctor.exporter_pods import ExporterPods, main_daemon_set
from metrics_server.doctor.exporters import Exporter
from metrics_server.doctor.model import Check, Problem, Verdict, skipped
from metrics_server.doctor.pages import pages_in
from metrics_server.doctor.reader import Reader
from metrics_server.errors import ScrapeError
from metrics_server.sources.exporters.dialects import subject
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.exposition import parse_labels

MOST_SECONDS = 10.0
"""An HPA asks every 15 s; dcgm-exporter collects every 30 s by default."""

_MOST_EXPORTERS = 3
_STEP_SECONDS = 1.0


class Watched(Struct, frozen=True):
    """How the values of a page changed.

    Attributes:
        times: when they changed, in seconds, up to the second time.
        seconds: how long they were watched: shorter if the page could no longer be read, and 0 if
            it was not read again.
    """

    times: tuple[float, ...]
    seconds: float


async def _run(reader: Reader) -> Verdict:
    watched = reader.subject.interval
    found = await reader.found()
    pages, _ = pages_in(await reader.pages())
    # Idle GPUs may report the same for hours.
    busy = [url for url, page in pages if page.inventory().by_pod][:_MOST_EXPORTERS]
    read = (await reader.page_reader()).read
    changes = await asyncio.gather(*(watch(partial(read, url), watched) for url in busy))
    pods = await reader.exporter_pods()
    return judge(found.exporters, dict(zip(busy, changes, strict=True)), pods)


async def watch(read: Callable[[], Awaitable[Page | ScrapeError]], seconds: float) -> Watched:
    """Watch the values of a page until they have changed twice.

    Args:
        read: reads the page.
        seconds: how long it is watched at most.
    """
    began = time.monotonic()
    times: list[float] = []
    before: frozenset[str] | None = None
    known = 0.0
    while (elapsed := time.monotonic() - began) < seconds and len(times) < 2:  # noqa: PLR2004
        page = await read()
        if isinstance(page, ScrapeError):
            return Watched(tuple(times), known)
        now = gpu_rows(page)
        if before is not None:
            known = elapsed
            if now != before:
                times.append(elapsed)
        before = now
        await asyncio.sleep(_STEP_SECONDS)
    return Watched(tuple(times), seconds)


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
    changes: Mapping[str, Watched],
    pods: ExporterPods,
) -> Verdict:
    """Judge how often values change: the time between two changes.

    Args:
        exporters: the exporters, by URL.
        changes: how the values of some of them changed.
        pods: the exporters' pods, as far as they could be read.
    """
    changes = {url: one for url, one in changes.items() if one.seconds}
    if not changes:
        return skipped("no page that names a pod was read twice")
    slow = {
        url: interval for url, one in changes.items() if (interval := _interval(one)) > MOST_SECONDS
    }
    known = [_interval(one) for one in changes.values() if len(one.times) > 1]
    if not slow:
        if len(known) == len(changes):
            return Verdict(f"values change about every {max(known):.2g} s")
        shortest = min(one.seconds for one in changes.values() if len(one.times) <= 1)
        return Verdict(
            f"values did not change twice within {shortest:.2g} s: --measure-interval 40s shows "
            "how often they change"
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


def _interval(watched: Watched) -> float:
    """Return the time between two changes, or the least that it can be."""
    match watched.times:
        case [first, second, *_]:
            return second - first
        case [first]:
            return watched.seconds - first
    return watched.seconds


CHECK = Check(
    name="exporter-interval",
    about="How often do the exporters' values change, as far as `--measure-interval` shows?",
    finds=("exporter-interval",),
    run=_run,
)
