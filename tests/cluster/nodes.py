"""The nodes of a cluster, played: their kubelets and GPUs.

All of them are on this host, with an address for each node and pod.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from metrics_server.kube.client import connect
from metrics_server.simulator.gpus.exporters import (
    Observation,
    SimulatedNode,
    render_page,
    simulated_node,
)
from metrics_server.simulator.gpus.workload import A100, Load, SimulatedPod, gpu_states
from tests.cluster.api import PatientClient
from tests.cluster.conditions import STEP_SECONDS, condition, is_server, unless_gone, wait
from tests.cluster.containers import (
    EXPORTER_PORT,
    Container,
    ServerContainer,
    completed,
    metrics_page,
    metrics_server,
    mounted,
)
from tests.cluster.control_plane import ControlPlane, add_address
from tests.cluster.pods import GPU, Pod, PodList

if TYPE_CHECKING:
    from metrics_server.simulator.kube.objects import Json, Object


class Placed(Struct, frozen=True):
    """A pod on a node.

    Attributes:
        pod: the pod.
        node: the node's name.
        gpus: the UUIDs of the GPUs that it holds.
        told_to_go: set when it is deleted.
    """

    pod: Pod
    node: str
    gpus: tuple[str, ...]
    told_to_go: asyncio.Event


class Nodes:
    """Nodes that run the pods scheduled on them. Created by `nodes`.

    Args:
        client: the Kubernetes API.
        folder: for the containers' files and logs.
        gpus: how many each node has, by its name.
    """

    def __init__(self, client: PatientClient, folder: Path, gpus: Mapping[str, int]) -> None:
        self.utilization = 100
        """Of every GPU that a pod holds, in percent."""
        self.work: float | None = None
        """What all pods with GPUs do together instead, in percent of one GPU."""
        self.pages_are_empty = False
        """Whether exporters serve empty pages."""
        self.failing: set[str] = set()
        """The nodes whose exporters fail."""
        self.pages: dict[str, Callable[[], str | None]] = {}
        """The metrics pages of containers, by their names: served at their first port."""
        self.load_seconds = 0.0
        """How long a pod with a GPU runs before it is Ready."""
        self.drain_seconds = 0.0
        """How long a pod with a GPU is Ready after it is deleted, with nothing left to do."""
        self.servers: dict[str, ServerContainer] = {}
        """The metrics server's containers, by pod; those that have ended, too."""
        self.servers_may_run = True
        """Whether those that end are started again."""
        self._client = client
        self._folder = folder
        self._nodes = {name: simulated_node(name, A100, number) for name, number in gpus.items()}
        self._addresses = {name: f"192.0.2.{number}" for number, name in enumerate(gpus, start=11)}
        self._placed: dict[str, Placed] = {}
        self._free_addresses = (f"192.0.2.{number}" for number in count(100))

    def logs(self) -> str:
        """The output of all metrics servers."""
        return "".join(path.read_text(encoding="utf-8") for path in self._folder.glob("*/log"))

    def stop_servers(self) -> None:
        """Kill every metrics server, and start none until `servers_may_run`."""
        self.servers_may_run = False
        for server in self.servers.values():
            server.kill()

    def count(self, container: str) -> int:
        """How many running pods have a container of this name."""
        running = [one.pod for one in self._placed.values() if not one.told_to_go.is_set()]
        return sum(pod.container.name == container for pod in running)

    @property
    def with_gpus(self) -> list[str]:
        """The names of the nodes with GPUs."""
        return [name for name, node in self._nodes.items() if node.gpus]

    async def register(self) -> None:
        """Register the nodes, as their kubelets do.

        If there are others, nodes with GPUs are reserved for pods that request one.
        """
        for name, address in self._addresses.items():
            gpus = len(self._nodes[name].gpus)
            await add_address(address)
            resources: Object = {"cpu": "16", "memory": "64Gi", "pods": "110", GPU: str(gpus)}
            node: Object = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "labels": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": name},
                },
                "status": {
                    "capacity": resources,
                    "allocatable": resources,
                    "addresses": [{"type": "InternalIP", "address": address}],
                    "conditions": [condition("Ready", holds=True)],
                },
            }
            await self._client.send("POST", "/api/v1/nodes", node)
            # The controller that removes a new node's taint would wait for heartbeats.
            reserved = gpus and len(self.with_gpus) < len(self._nodes)
            taints: list[Json] = [{"key": GPU, "effect": "NoSchedule"}] if reserved else []
            path = f"/api/v1/nodes/{name}"
            await self._client.send("PATCH", path, {"spec": {"taints": taints}})

    async def run(self) -> None:
        """Run the pods that are bound to a node, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            try:
                while True:
                    answer = await self._client.get("/api/v1/pods")
                    for pod in msgspec.json.decode(answer, type=PodList).items:
                        self._see(pod, tasks)
                    await asyncio.sleep(STEP_SECONDS)
            finally:
                self.stop_servers()

    def _see(self, pod: Pod, tasks: asyncio.TaskGroup) -> None:
        placed = self._placed.get(pod.metadata.uid)
        if placed is not None:
            if pod.metadata.deletion_timestamp is not None:
                placed.told_to_go.set()
        elif pod.spec.node_name is not None:
            self._take(pod, pod.spec.node_name, tasks)

    def _take(self, pod: Pod, node: str, tasks: asyncio.TaskGroup) -> None:
        """Run a pod that is bound to a node, once the node has free GPUs for it."""
        taken = {uuid for placed in self._placed.values() for uuid in placed.gpus}
        free = [gpu.uuid for gpu in self._nodes[node].gpus if gpu.uuid not in taken]
        if len(free) >= pod.gpus:
            placed = Placed(pod, node, tuple(free[: pod.gpus]), asyncio.Event())
            self._placed[pod.metadata.uid] = placed
            tasks.create_task(self._live(placed))

    async def _live(self, placed: Placed) -> None:
        """Run a pod until it is gone, and restart its container if that ends."""
        address = await self._address(placed)
        with unless_gone():
            if placed.pod.spec.restart_policy == "Never" and placed.pod.container.command:
                await self._complete(placed.pod)
                await placed.told_to_go.wait()
            while not placed.told_to_go.is_set():
                if self.servers_may_run or not is_server(placed.pod):
                    async with AsyncExitStack() as stack:
                        await self._watch(
                            placed, address, await self._start(placed, address, stack)
                        )
                await self._report(placed.pod, address, ready=False)
                await wait(placed.told_to_go)
        now: Object = {"gracePeriodSeconds": 0, "preconditions": {"uid": placed.pod.metadata.uid}}
        with unless_gone():
            await self._client.send("DELETE", placed.pod.path, now)
        del self._placed[placed.pod.metadata.uid]

    async def _complete(self, pod: Pod) -> None:
        """Run a pod's command to its end, and report its outcome."""
        done = await completed(self._client, pod, self._folder / pod.metadata.uid)
        status: Object = {"phase": "Succeeded" if done else "Failed"}
        await self._client.send("PATCH", f"{pod.path}/status", {"status": status})

    async def _watch(self, placed: Placed, address: str, container: Container) -> None:
        """Report whether a container is ready, until it ends or its pod has drained."""
        began = time.monotonic()
        while not placed.told_to_go.is_set() and container.runs():
            loaded = not placed.gpus or time.monotonic() - began >= self.load_seconds
            await self._report(placed.pod, address, ready=loaded and await container.ready())
            await wait(placed.told_to_go)
        if placed.gpus and placed.told_to_go.is_set():
            await asyncio.sleep(self.drain_seconds)

    async def _address(self, placed: Placed) -> str:
        if placed.pod.spec.host_network:
            return self._addresses[placed.node]
        address = next(self._free_addresses)
        await add_address(address)
        return address

    async def _start(self, placed: Placed, address: str, stack: AsyncExitStack) -> Container:
        pod = placed.pod
        if "dcgm-exporter" in pod.container.image:
            gpus = partial(self._page, self._nodes[placed.node])
            await stack.enter_async_context(metrics_page(address, EXPORTER_PORT, gpus))
        elif is_server(pod):
            folder = self._folder / pod.metadata.name
            files = await mounted(self._client, pod, folder)
            server = await stack.enter_async_context(metrics_server(pod, address, folder, files))
            self.servers[pod.metadata.name] = server
            return server
        elif page := self.pages.get(pod.container.name):
            port = pod.container.ports[0].container_port
            await stack.enter_async_context(metrics_page(address, port, page))
        return Container()

    def _page(self, node: SimulatedNode) -> str | None:
        if node.name in self.failing:
            return None
        if self.pages_are_empty:
            return ""
        pods = [
            SimulatedPod(
                namespace=placed.pod.metadata.namespace,
                name=placed.pod.metadata.name,
                container=placed.pod.container.name,
                node=placed.node,
                gpus=placed.gpus,
                ready=True,
            )
            for placed in self._placed.values()
            if placed.gpus and not placed.told_to_go.is_set()
        ]
        work = self.utilization * len(pods) if self.work is None else self.work
        load = Load(base=work, amplitude=0, noise=0)
        states = gpu_states(load, node.model, [gpu.uuid for gpu in node.gpus], pods, 0)
        return render_page(node, "4.8.3+", Observation(states, pods))

    async def _report(self, pod: Pod, address: str, *, ready: bool) -> None:
        status: Object = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [
                condition("PodScheduled", holds=True),
                condition("Ready", holds=ready),
            ],
            "containerStatuses": [
                {
                    "name": pod.container.name,
                    "ready": ready,
                    "started": True,
                    "restartCount": 0,
                    "image": pod.container.image,
                    "imageID": "",
                    "state": {"running": {}},
                }
            ],
        }
        await self._client.send("PATCH", f"{pod.path}/status", {"status": status})


@asynccontextmanager
async def nodes(plane: ControlPlane, folder: Path, gpus: Mapping[str, int]) -> AsyncIterator[Nodes]:
    """Nodes of a cluster, as a context.

    Args:
        plane: of the cluster.
        folder: for the containers' files and logs.
        gpus: how many each node has, by its name.
    """
    client = await connect(plane.kubeconfig)
    try:
        made = Nodes(PatientClient(client), folder, gpus)
        await made.register()
        work = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
    finally:
        await client.close()
