"""A changing load, and its effect on GPUs: a pure function of a seed and the time.

Everything here is simulated. The numbers are plausible, not measured.
"""

from collections.abc import Mapping, Sequence
from math import inf, pi, sin
from random import Random
from typing import Protocol

from msgspec import Struct

IDLE_MEMORY_MIB = 3
"""The value of DCGM_FI_DEV_FB_USED of an unused GPU."""


class SimulatedPod(Struct, frozen=True):
    """A pod of the simulated Deployment.

    Attributes:
        namespace: metadata.namespace.
        name: metadata.name.
        container: the name of the container with the GPUs.
        node: the node that it runs on.
        gpus: the UUIDs of its GPUs.
        ready: whether it is Ready; otherwise it is loading its model.
    """

    namespace: str
    name: str
    container: str
    node: str
    gpus: tuple[str, ...]
    ready: bool


class Load(Struct, frozen=True, kw_only=True):
    """The total demand on all pods, in GPU-percent: 250 keeps two and a half GPUs busy.

    Attributes:
        seed: the same seed always produces the same load.
        base: the mean demand.
        amplitude: how far it swings to either side of the base.
        period: the seconds of a full swing.
        noise: the maximum random deviation to either side, which changes every second.
        step: added to the demand from step_start until step_end.
        step_start: in seconds.
        step_end: in seconds.
    """

    seed: int = 0
    base: float = 150
    amplitude: float = 60
    period: float = 240
    noise: float = 8
    step: float = 0
    step_start: float = inf
    step_end: float = inf

    def demand(self, time: float) -> float:
        """Return the demand at a time in seconds; never below 0."""
        swing = self.amplitude * sin(2 * pi * time / self.period)
        step = self.step if self.step_start <= time < self.step_end else 0
        return max(0.0, self.base + swing + step + self.noise * jitter(self.seed, "demand", time))

    def shares(self, pods: Sequence[SimulatedPod], time: float) -> Mapping[str, float]:
        """Return the demand on each pod, by name: the same for every pod that is Ready."""
        serving = sum(pod.ready for pod in pods)
        share = self.demand(time) / serving if serving else 0.0
        return {pod.name: share for pod in pods if pod.ready}


class Work(Protocol):
    """The work for the pods of a Deployment, such as a `Load`."""

    @property
    def seed(self) -> int:
        """The same seed always produces the same noise."""
        ...

    @property
    def noise(self) -> float:
        """The maximum random deviation of a GPU, in percent."""
        ...

    def shares(self, pods: Sequence[SimulatedPod], time: float) -> Mapping[str, float]:
        """Return what each pod does, by name, in GPU-percent."""
        ...


class GpuModel(Struct, frozen=True):
    """A GPU model.

    Attributes:
        name: as in the exporter's label modelName.
        memory: the framebuffer memory that is not reserved, in MiB.
        power: idle and at full load, in W.
        temperature: idle and at full load, in degrees Celsius.
        sm_clock: idle and busy, in MHz.
        memory_clock: in MHz.
    """

    name: str
    memory: int
    power: tuple[float, float]
    temperature: tuple[float, float]
    sm_clock: tuple[int, int]
    memory_clock: int


A100 = GpuModel("NVIDIA A100-SXM4-80GB", 81051, (62, 400), (28, 66), (210, 1410), 1593)
H200 = GpuModel("NVIDIA H200", 143161, (77, 700), (28, 64), (345, 1980), 3201)


class GpuState(Struct, frozen=True):
    """An exporter's figures for a GPU, in DCGM's units.

    Attributes:
        utilization: DCGM_FI_DEV_GPU_UTIL, in percent.
        memory_copy_utilization: DCGM_FI_DEV_MEM_COPY_UTIL, in percent.
        memory_used: DCGM_FI_DEV_FB_USED, in MiB.
        memory_free: DCGM_FI_DEV_FB_FREE, in MiB.
        power_usage: DCGM_FI_DEV_POWER_USAGE, in W.
        temperature: DCGM_FI_DEV_GPU_TEMP, in degrees Celsius.
        sm_clock: DCGM_FI_DEV_SM_CLOCK, in MHz.
        memory_clock: DCGM_FI_DEV_MEM_CLOCK, in MHz.
        graphics_engine_active: DCGM_FI_PROF_GR_ENGINE_ACTIVE, from 0 to 1.
    """

    utilization: int
    memory_copy_utilization: int
    memory_used: int
    memory_free: int
    power_usage: float
    temperature: int
    sm_clock: int
    memory_clock: int
    graphics_engine_active: float


def gpu_states(
    work: Work, model: GpuModel, gpus: Sequence[str], pods: Sequence[SimulatedPod], time: float
) -> dict[str, GpuState]:
    """Return the state of GPUs at work.

    A pod's share of the work is spread evenly over its GPUs. Work beyond the capacity of a GPU is
    not done.

    Args:
        work: what all these pods have to do.
        model: the model of the GPUs.
        gpus: their UUIDs.
        pods: every pod of the Deployment, on any node.
        time: in seconds.

    Returns:
        A state for each of the UUIDs.
    """
    shares = work.shares(pods, time)
    pod_of = {uuid: pod for pod in pods for uuid in pod.gpus}
    states = {}
    for uuid in gpus:
        pod = pod_of.get(uuid)
        if pod is None:
            utilization, memory = 0.0, float(IDLE_MEMORY_MIB)
        elif not pod.ready:
            utilization, memory = 0.0, model.memory * 0.25
        else:
            stray = work.noise * jitter(work.seed, uuid, time)
            share = shares[pod.name] / len(pod.gpus)
            utilization = min(100.0, max(0.0, share + stray))
            memory = model.memory * (0.5 + 0.4 * utilization / 100)
        states[uuid] = _state(model, utilization, memory, jitter(work.seed, f"{uuid} state", time))
    return states


def jitter(seed: int, what: str, time: float) -> float:
    """Return a number from -1 to 1 that is always the same for a seed, a name and a second."""
    # S311: repeatable randomness is the point, and no secret depends on it.
    return Random(f"{seed} {what} {int(time)}").uniform(-1, 1)  # noqa: S311 - see above


def _state(model: GpuModel, utilization: float, memory: float, stray: float) -> GpuState:
    percent = round(utilization)
    busy = percent / 100
    stray *= busy
    used = round(memory)
    return GpuState(
        utilization=percent,
        memory_copy_utilization=round(percent * (0.4 + 0.1 * stray)),
        memory_used=used,
        memory_free=model.memory - used,
        power_usage=round(_between(model.power, busy) * (1 + 0.03 * stray), 3),
        temperature=round(_between(model.temperature, busy) + 2 * stray),
        sm_clock=model.sm_clock[percent > 0],
        memory_clock=model.memory_clock,
        graphics_engine_active=round(min(1.0, busy * (1 + 0.03 * stray)), 6),
    )


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share
