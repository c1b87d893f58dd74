"""The exporters' pods: their images, and what starts them."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote
from urllib.parse import quote as encoded

from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.doctor.api import Api
from metrics_server.doctor.exporters import Exporter
from metrics_server.doctor.objects import Container, RunningPod
from metrics_server.errors import KubernetesError

ExporterPods = Mapping[str, RunningPod]
"""The pods of exporters, by the URL of the exporter; without those that cannot be read."""

_AT_ONCE = 16
# For all of them together: the checks that need them have little more time.
_SECONDS = 5.0


class DaemonSet(Struct, frozen=True, order=True):
    """A DaemonSet that runs exporters."""

    namespace: str
    name: str

    @property
    def command(self) -> str:
        """The beginning of a command about it, up to its verb."""
        return f"kubectl -n {self.namespace}"

    @property
    def resource(self) -> str:
        """It, as commands name it."""
        return quote(printable(f"daemonset/{self.name}", 300))


OURS = DaemonSet("gpu-monitoring", "dcgm-exporter")
"""The one of `deployments/dcgm-exporter.yaml`, where it is not known."""


async def read_exporter_pods(api: Api, exporters: Mapping[str, Exporter]) -> ExporterPods:
    """Read the pods of exporters.

    One that cannot be read is left out: it only makes a message better.

    Args:
        api: the Kubernetes API.
        exporters: the exporters, by URL.
    """
    turns = asyncio.Semaphore(_AT_ONCE)
    deadline = asyncio.get_running_loop().time() + _SECONDS

    async def read(namespace: str, name: str) -> RunningPod | None:
        path = f"/api/v1/namespaces/{encoded(namespace, safe='')}/pods/{encoded(name, safe='')}"
        try:
            async with asyncio.timeout_at(deadline), turns:
                return await api.find(path, RunningPod)
        except (KubernetesError, TimeoutError, ValueError):
            return None

    named = {url: one.pod for url, one in exporters.items() if one.pod is not None}
    pods = await asyncio.gather(*(read(*pod) for pod in named.values()))
    return {url: pod for url, pod in zip(named, pods, strict=True) if pod is not None}


def version_of(pod: RunningPod, port: int) -> str:
    """Return the name and tag of an exporter's image, such as dcgm-exporter:4.2.3 (pure).

    Args:
        pod: the exporter's pod.
        port: of its page, which says which container it is.
    """
    container = _container(pod, port)
    image = container.image.partition("@")[0].rpartition("/")[2] if container else ""
    label = (pod.metadata.labels or {}).get("app.kubernetes.io/version", "")
    if label and ":" not in image:  # pinned by its digest alone
        image = f"{image}:{label}"
    return printable(image, 100)


def _container(pod: RunningPod, port: int) -> Container | None:
    containers = pod.spec.containers
    by_port = (one for one in containers if any(p.container_port == port for p in one.ports or ()))
    return next(by_port, next(iter(containers), None))


def daemon_set_of(pod: RunningPod) -> DaemonSet | None:
    """Return the DaemonSet that has started a pod; None if none has (pure)."""
    owners = pod.metadata.owner_references or ()
    name = next((one.name for one in owners if one.kind == "DaemonSet"), None)
    return DaemonSet(pod.metadata.namespace, name) if name else None


def main_daemon_set(urls: Iterable[str], pods: ExporterPods) -> DaemonSet:
    """Return the DaemonSet of the first of these exporters whose pod names one (pure)."""
    known = (daemon_set_of(pods[url]) for url in urls if url in pods)
    return next(filter(None, known), OURS)


def restarts(failing: Sequence[str], exporters: Mapping[str, Exporter], pods: ExporterPods) -> str:
    """Return the commands that restart exporters (pure).

    If several exporters of a DaemonSet fail, and at least half of them, all are restarted;
    otherwise only those that fail.

    Args:
        failing: their URLs.
        exporters: all exporters, by URL.
        pods: their pods.
    """
    of_set: dict[DaemonSet, list[str]] = defaultdict(list)
    single: dict[str, list[str]] = defaultdict(list)
    sets = {url: daemon_set_of(pod) for url, pod in pods.items()}
    for url in failing:
        found = sets.get(url)
        if found is not None:
            of_set[found].append(url)
        elif (pod := exporters[url].pod) is not None:
            single[pod[0]].append(pod[1])
    lines: list[str] = []
    for found, urls in of_set.items():
        every = sum(one == found for one in sets.values())
        if len(urls) > 1 and 2 * len(urls) >= every:
            lines.append(f"{found.command} rollout restart {found.resource}")
            lines.append(f"{found.command} rollout status {found.resource}")
        else:
            single[found.namespace] += [pods[url].metadata.name for url in urls]
    for namespace, names in single.items():
        comment = "   # its DaemonSet starts another" if len(names) == 1 else ""
        lines.append(f"kubectl -n {namespace} delete pod {' '.join(names)}{comment}")
    return "\n".join(lines)
