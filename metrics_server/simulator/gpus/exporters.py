"""Simulated DCGM exporters: real pages on real sockets, for GPUs that do not exist.

A page has the format of dcgm-exporter 3.x or of 4.8.3 and later: the order of families and rows,
the labels and their order, and the format of numbers. Every HELP line says that it is simulated.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Literal
from uuid import UUID

from msgspec import Struct

from metrics_server.simulator.gpus.workload import GpuModel, GpuState, SimulatedPod
from metrics_server.simulator.pages import PageServer

PageFormat = Literal["3.x", "4.8.3+"]

_DRIVER_VERSION: dict[PageFormat, str] = {"3.x": "550.127.08", "4.8.3+": "580.95.05"}


class Family(Struct, frozen=True):
    """A metric family of the page.

    Attributes:
        name: the DCGM field.
        help: its HELP text, with the unit.
        read: returns its value for a GPU.
    """

    name: str
    help: str
    read: Callable[[GpuState], float]


# In the order of NVIDIA/dcgm-exporter's etc/default-counters.csv, like the pages of 3.x.
FAMILIES = (
    Family("DCGM_FI_DEV_SM_CLOCK", "SM clock (in MHz)", lambda g: g.sm_clock),
    Family("DCGM_FI_DEV_MEM_CLOCK", "Memory clock (in MHz)", lambda g: g.memory_clock),
    Family("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C)", lambda g: g.temperature),
    Family("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W)", lambda g: float(g.power_usage)),
    Family("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %)", lambda g: g.utilization),
    Family(
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "Memory utilization (in %)",
        lambda g: g.memory_copy_utilization,
    ),
    Family("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB)", lambda g: g.memory_free),
    Family("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB)", lambda g: g.memory_used),
    Family(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "Ratio of time the graphics engine is active",
        lambda g: float(g.graphics_engine_active),
    ),
)


class SimulatedGpu(Struct, frozen=True):
    """A GPU's identity: its index on the node, its UUID, and its PCI bus ID."""

    index: int
    uuid: str
    pci_bus_id: str


class SimulatedNode(Struct, frozen=True):
    """A node and its GPUs, all of one model."""

    name: str
    model: GpuModel
    gpus: tuple[SimulatedGpu, ...]


class Observation(Struct, frozen=True):
    """An exporter's observations at a scrape.

    Attributes:
        states: the state of each GPU of its node, by UUID.
        pods: the pods with GPUs; pods of other nodes are ignored.
    """

    states: Mapping[str, GpuState]
    pods: Sequence[SimulatedPod]


def simulated_node(name: str, model: GpuModel, gpus: int) -> SimulatedNode:
    """Return a node with this many GPUs, whose identities are derived from its name."""
    # S311: the identities must be the same in every run, and need not be secret.
    random = Random(name)  # noqa: S311 - see above
    return SimulatedNode(
        name=name,
        model=model,
        gpus=tuple(
            SimulatedGpu(i, f"GPU-{UUID(bytes=random.randbytes(16))}", f"00000000:{i + 7:02X}:00.0")
            for i in range(gpus)
        ),
    )


def render_page(
    node: SimulatedNode, page_format: PageFormat, seen: Observation, *, pod_labels: bool = True
) -> str:
    """Render the page of a node's exporter.

    Args:
        node: the node and its GPUs.
        page_format: the version of dcgm-exporter to imitate.
        seen: the GPUs' states and the pods that have them.
        pod_labels: whether rows have pod labels, as with DCGM_EXPORTER_KUBERNETES=true. A GPU
            without a pod never has them.
    """
    pod_of = {uuid: pod for pod in seen.pods for uuid in pod.gpus} if pod_labels else {}
    families: Sequence[Family] = FAMILIES
    gpus: Sequence[SimulatedGpu] = node.gpus
    if page_format == "4.8.3+":
        families = sorted(families, key=lambda family: family.name)
        gpus = sorted(gpus, key=lambda gpu: gpu.uuid)
    rows = [(_labels(node, page_format, gpu, pod_of.get(gpu.uuid)), gpu.uuid) for gpu in gpus]
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.help}, simulated: no such GPU exists.")
        lines.append(f"# TYPE {family.name} gauge")
        for labels, uuid in rows:
            value = _number(family.read(seen.states[uuid]), page_format)
            lines.append(f"{family.name}{{{labels}}} {value}")
    return "\n".join(lines) + "\n"


def _labels(
    node: SimulatedNode, page_format: PageFormat, gpu: SimulatedGpu, pod: SimulatedPod | None
) -> str:
    labels = {
        "gpu": str(gpu.index),
        "UUID": gpu.uuid,
        "pci_bus_id": gpu.pci_bus_id,
        "device": f"nvidia{gpu.index}",
        "modelName": node.model.name,
        "Hostname" if page_format == "3.x" else "hostname": node.name,
        "DCGM_FI_DRIVER_VERSION": _DRIVER_VERSION[page_format],
    }
    if pod is not None:
        labels |= {"container": pod.container, "namespace": pod.namespace, "pod": pod.name}
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def _number(value: float, page_format: PageFormat) -> str:
    """Format a number as the exporter does: six decimals, or (below a million) the shortest."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.6f}" if page_format == "3.x" else repr(value).removesuffix(".0")


class SimulatedExporter(PageServer):
    """The exporter of a node, on its own port of 127.0.0.1.

    Args:
        node: the node that it runs on.
        page_format: the version of dcgm-exporter to imitate.
        observe: called at each scrape for the current states.
    """

    def __init__(
        self, node: SimulatedNode, page_format: PageFormat, observe: Callable[[], Observation]
    ) -> None:
        super().__init__()
        self.node = node
        self._page_format = page_format
        self._observe = observe

    def page(self) -> str:
        """Return the page as it is now."""
        labelled = self.fault is None or self.fault.kind != "unlabelled"
        return render_page(self.node, self._page_format, self._observe(), pod_labels=labelled)
