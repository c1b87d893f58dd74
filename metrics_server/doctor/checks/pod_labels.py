"""Whether the exporters' pages name pods."""

from collections.abc import Mapping, Sequence

from metrics_server.common.text import counted, listed
from metrics_server.doctor.exporter_pods import ExporterPods, main_daemon_set
from metrics_server.doctor.exporters import Exporter
from metrics_server.doctor.model import Check, Problem, Verdict, objects, skipped
from metrics_server.doctor.pages import pages_in
from metrics_server.doctor.reader import Reader
from metrics_server.errors import ScrapeError
from metrics_server.kube.pods import Pod
from metrics_server.rules.presets import HINTS
from metrics_server.sources.exporters.page import Page


async def _run(reader: Reader) -> Verdict:
    found = await reader.found()
    pods = await reader.pods(reader.subject.namespace)
    return judge(found.exporters, await reader.pages(), pods, await reader.exporter_pods())


def judge(
    exporters: Mapping[str, Exporter],
    outcomes: Mapping[str, Page | ScrapeError],
    pods: Sequence[Pod],
    exporter_pods: ExporterPods,
) -> Verdict:
    """Judge which pages name no pods though pods with GPUs run on their nodes.

    Args:
        exporters: the exporters, by URL.
        outcomes: their pages, or why there are none.
        pods: the pods of the cluster, or of one namespace.
        exporter_pods: the pods of the exporters, as far as they could be read.
    """
    pages, _ = pages_in(outcomes)
    busy = {pod.node for pod in pods if pod.gpus and pod.phase == "Running"}
    examined = [(url, page) for url, page in pages if exporters[url].endpoint.node in busy]
    if not examined:
        return skipped("no page of a node with GPU pods was read")
    nameless = [(url, page) for url, page in examined if is_nameless(page)]
    if not nameless:
        return Verdict(f"{counted(len(examined), 'page')} of nodes with GPU pods: each names pods")
    dialect = next((one.name for one in nameless[0][1].dialects_seen()), "")
    hint = HINTS.get(dialect) or next(iter(HINTS.values()))
    found = main_daemon_set([url for url, _ in nameless], exporter_pods)
    problem = Problem(
        "no-pod-labels",
        listed([f"exporter {exporters[one].named}" for one, _ in nameless]),
        f"the page names no pods at all: the exporter needs {hint.pods}",
        f"{found.command} set env {found.resource} DCGM_EXPORTER_KUBERNETES=true"
        "\n# and mount /var/lib/kubelet/pod-resources, as deployments/dcgm-exporter.yaml does",
        "docs/exporter.md",
        objects("node", [exporters[one].endpoint.node for one, _ in nameless]),
    )
    return Verdict(f"{counted(len(nameless), 'page')} without the names of pods", (problem,))


def is_nameless(page: Page) -> bool:
    """Whether a page lists GPUs, but no pod."""
    inventory = page.inventory()
    return bool(inventory.free) and not inventory.by_pod


CHECK = Check(
    name="no-pod-labels",
    about="Do the exporters' pages say which pod has which GPU?",
    finds=("no-pod-labels",),
    run=_run,
)
