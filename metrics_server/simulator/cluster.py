"""A simulated cluster: nodes with GPUs and their exporters, and one Deployment under a load."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import count
from typing import Self

from msgspec import Struct, structs

from metrics_server.simulator import manifests
from metrics_server.simulator.autoscaling.hpa import ScaledPod
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.gpus.exporters import (
    Observation,
    SimulatedExporter,
    SimulatedNode,
    simulated_node,
)
from metrics_server.simulator.gpus.workload import A100, SimulatedPod, Work, gpu_states
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import DEPLOYMENTS, ENDPOINT_SLICES, NODES, PODS

GPUS_PER_NODE = 4


def simulated_nodes(count: int) -> list[SimulatedNode]:
    """Return the nodes of a cluster, which are the same in every cluster of this size."""
    return [simulated_node(f"gpu-node-{n}", A100, GPUS_PER_NODE) for n in range(count)]


class _Replica(Struct, frozen=True):
    pod: SimulatedPod
    ready_at: float
    deleted_at: float | None = None


class Cluster:
    """The cluster; an asynchronous context manager, in which its exporters listen.

    Args:
        api: the Kubernetes API for its objects.
        nodes: how many nodes it has, each with `GPUS_PER_NODE` GPUs.
        load: what the pods of the Deployment have to do; it may be replaced at any time.
        loading_seconds: how long a new pod is Running but not Ready, while it loads its model.
        deleting_seconds: how long a deleted pod is terminating.
        page_port: returns the port of a pod's own metrics page; None without such pages.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        api: KubernetesAPI,
        *,
        nodes: int,
        load: Work,
        loading_seconds: float,
        deleting_seconds: float,
        page_port: Callable[[SimulatedPod], int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self.load = load
        self._loading_seconds = loading_seconds
        self._deleting_seconds = deleting_seconds
        self._page_port = page_port
        self._clock = clock
        self._began = clock()
        self._nodes = simulated_nodes(nodes)
        self._exporters = [
            SimulatedExporter(node, "4.8.3+", self._observer(node)) for node in self._nodes
        ]
        self._wanted = 0
        self._published: tuple[int, int, int] | None = None
        self._replicas: list[_Replica] = []
        self._names = (f"{manifests.APP}-{number:04d}" for number in count(1))
        self._stack = AsyncExitStack()
        self._changing_faults = asyncio.Lock()

    async def __aenter__(self) -> Self:
        for exporter in self._exporters:
            await self._stack.enter_async_context(exporter)
            name = exporter.node.name
            self._api.apply(NODES, manifests.node(name, GPUS_PER_NODE))
            self._api.apply(ENDPOINT_SLICES, manifests.endpoint_slice(name, exporter.port))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def capacity(self) -> int:
        """The number of GPUs, and so the maximum number of pods."""
        return len(self._nodes) * GPUS_PER_NODE

    @property
    def replicas(self) -> int:
        """The Deployment's spec.replicas."""
        return self._wanted

    @property
    def pods(self) -> Sequence[SimulatedPod]:
        """The pods that are not being deleted."""
        return [replica.pod for replica in self._replicas if replica.deleted_at is None]

    @property
    def scaled_pods(self) -> tuple[ScaledPod, ...]:
        """Every pod, as the HPA controller lists it."""
        return tuple(
            ScaledPod(
                replica.pod.name,
                phase="Running",
                ready=replica.pod.ready,
                terminating=replica.deleted_at is not None,
            )
            for replica in self._replicas
        )

    @property
    def placed(self) -> Sequence[tuple[SimulatedPod, bool]]:
        """Every pod, and whether it is terminating."""
        return [(replica.pod, replica.deleted_at is not None) for replica in self._replicas]

    @property
    def exporters(self) -> Sequence[SimulatedExporter]:
        """The exporters, one for each node."""
        return self._exporters

    @property
    def exporter_urls(self) -> Sequence[str]:
        """The URLs of the exporters' pages."""
        return [exporter.url for exporter in self._exporters]

    @property
    def ready_pods(self) -> int:
        """How many pods are Ready; a terminating pod counts until it is gone."""
        return sum(replica.pod.ready for replica in self._replicas)

    @property
    def elapsed(self) -> float:
        """The seconds since the cluster was made: the time of its load."""
        return self._clock() - self._began

    def scale(self, replicas: int, *, ready: bool = False) -> None:
        """Scale the Deployment; the newest pods are deleted first.

        Args:
            replicas: how many.
            ready: whether new pods are Ready at once.
        """
        self._wanted = replicas
        for replica in [r for r in self._replicas if r.deleted_at is None][replicas:]:
            self._change(replica, structs.replace(replica, deleted_at=self._clock()))
        self._create_missing(ready=ready)
        self._publish_deployment()

    def step(self) -> None:
        """Advance: pods become Ready, deleted pods go away, and new ones get their GPUs."""
        now = self._clock()
        for replica in tuple(self._replicas):
            if replica.deleted_at is not None:
                if now >= replica.deleted_at + self._deleting_seconds:
                    self._replicas.remove(replica)
                    self._api.delete(PODS, replica.pod.namespace, replica.pod.name)
            elif not replica.pod.ready and now >= replica.ready_at:
                ready = structs.replace(replica.pod, ready=True)
                self._change(replica, structs.replace(replica, pod=ready))
        self._create_missing(ready=False)
        self._publish_deployment()

    async def set_fault(self, fault: Fault | None, *, exporters: int | None = None) -> None:
        """Set a fault, or remove it with None.

        Args:
            fault: the fault.
            exporters: on how many exporters; on every one if None.
        """
        # One change at a time, or an exporter might start twice.
        async with self._changing_faults:
            for exporter in self._exporters[:exporters]:
                await exporter.set_fault(fault)

    async def restart(self, exporter: SimulatedExporter) -> None:
        """End the fault of an exporter, as a new process would.

        Raises:
            OSError: it cannot listen again.
        """
        async with self._changing_faults:
            await exporter.set_fault(None)

    def _create_missing(self, *, ready: bool) -> None:
        """Create the missing pods, as far as there are free GPUs.

        A terminating pod keeps its GPUs until it is gone.
        """
        taken = {uuid for replica in self._replicas for uuid in replica.pod.gpus}
        for _ in range(self._wanted - len(self.pods)):
            free = {
                node.name: [gpu.uuid for gpu in node.gpus if gpu.uuid not in taken]
                for node in self._nodes
            }
            # The emptiest node first, as the default scheduler spreads a Deployment's pods.
            node, gpus = max(free.items(), key=lambda item: len(item[1]))
            if not gpus:
                return
            taken.add(gpus[0])
            pod = SimulatedPod(
                namespace=manifests.NAMESPACE,
                name=next(self._names),
                container=manifests.APP,
                node=node,
                gpus=(gpus[0],),
                ready=ready or not self._loading_seconds,
            )
            self._replicas.append(_Replica(pod, ready_at=self._clock() + self._loading_seconds))
            self._publish_pod(pod, None)

    def _publish_deployment(self) -> None:
        state = self._wanted, len(self.pods), self.ready_pods
        if state != self._published:
            self._published = state
            self._api.apply(DEPLOYMENTS, manifests.deployment(*state))

    def _change(self, replica: _Replica, changed: _Replica) -> None:
        self._replicas[self._replicas.index(replica)] = changed
        self._publish_pod(changed.pod, changed.deleted_at)

    def _publish_pod(self, pod: SimulatedPod, deleted_at: float | None) -> None:
        port = None if self._page_port is None else self._page_port(pod)
        self._api.apply(PODS, manifests.pod(pod, deleted_at, port))

    def _observer(self, node: SimulatedNode) -> Callable[[], Observation]:
        uuids = [gpu.uuid for gpu in node.gpus]

        def observe() -> Observation:
            pods = self.pods
            return Observation(gpu_states(self.load, node.model, uuids, pods, self.elapsed), pods)

        return observe
