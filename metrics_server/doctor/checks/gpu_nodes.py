"""Whether each node with GPUs has an exporter."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from metrics_server.common.text import counted, named
from metrics_server.doctor.exporters import Found
from metrics_server.doctor.model import Check, Problem, Verdict, objects, skipped
from metrics_server.doctor.objects import GpuNode
from metrics_server.doctor.reader import Reader


async def _run(reader: Reader) -> Verdict:
    if why_not := await reader.why_nothing_to_discover():
        return skipped(why_not)
    found = await reader.found()
    if not found.services:
        return skipped("no exporter is found at all")
    gpu_resources = (await reader.config()).pods.gpu_resources
    return judge(await reader.nodes(), gpu_resources, found)


def judge(nodes: Sequence[GpuNode], gpu_resources: Collection[str], found: Found) -> Verdict:
    """Judge which nodes have no exporter.

    Args:
        nodes: all nodes.
        gpu_resources: shell patterns for the names of resources that count as GPUs.
        found: the exporters.
    """
    with_exporter = {one.endpoint.node for one in found.exporters.values()}
    with_gpus = [node for node in nodes if has_gpus(node, gpu_resources)]
    bare = [node.metadata.name for node in with_gpus if node.metadata.name not in with_exporter]
    if not bare:
        return Verdict(f"{counted(len(with_gpus), 'node')} with GPUs: each has an exporter")
    problem = Problem(
        "no-exporter",
        named("node", bare),
        "no exporter is Ready there, so pods with GPUs there are not measured: this affects "
        f"{len(bare)} of {counted(len(with_gpus), 'node')} with GPUs",
        f"kubectl label nodes {' '.join(bare)} nvidia.com/gpu=present\n"
        "kubectl -n gpu-monitoring get pods -o wide -l app.kubernetes.io/name=dcgm-exporter"
        "   # a taint may keep it away",
        "docs/troubleshooting.md#no-exporter",
        objects("node", bare),
        # Each endpoint that names no node may be the exporter of one of them.
        alone=len(set(bare) - set(found.unready.values())) > len(found.unplaced),
    )
    return Verdict(
        f"{len(bare)} of {counted(len(with_gpus), 'node')} with GPUs: no exporter", (problem,)
    )


def has_gpus(node: GpuNode, gpu_resources: Collection[str]) -> bool:
    """Whether a node has GPUs."""
    return any(
        str(amount) != "0" and any(fnmatchcase(name, pattern) for pattern in gpu_resources)
        for name, amount in (node.status.capacity or {}).items()
    )


CHECK = Check(
    name="no-exporter",
    about="Does each node with GPUs have an exporter?",
    finds=("no-exporter",),
    run=_run,
)
