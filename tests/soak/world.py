"""The simulated cluster's nodes and pods, and hence the right answer to each question."""

from collections import defaultdict
from contextlib import AsyncExitStack
from decimal import ROUND_HALF_UP, Decimal
from functools import partial
from random import Random
from statistics import fmean
from time import monotonic
from typing import Self

from msgspec import Struct, structs

from metrics_server.simulator import manifests
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS
from tests.soak.api import FaultyAPI
from tests.soak.exporter import Exporter
from tests.support.objects import pod as pod_object

NODES = 8
NAMESPACES = ("team-a", "team-b", "team-c")
APPS = ("train", "serve")
FEWEST_PODS, PODS_AT_FIRST, MOST_PODS = 4, 7, 9
# Each application has its own values, so that a sample from another's pod would be noticed.
BAND = 6


class App(Struct, frozen=True):
    """An application: what one HPA asks about."""

    namespace: str
    name: str
    low: int

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def high(self) -> int:
        """The highest value that one of its GPUs may have."""
        return self.low + BAND - 2


class SimulatedPod(Struct, frozen=True):
    """A pod with its GPUs."""

    app: App
    name: str
    node: str
    gpus: tuple[int, ...]
    ready: bool = True
    terminating: bool = False
    works: bool = True

    @property
    def key(self) -> tuple[str, str]:
        """Its namespace and name."""
        return self.app.namespace, self.name


class Past(Struct):
    """The history of an application since the last quiet phase.

    Attributes:
        lowest: of its pods' values.
        highest: likewise.
        fewest: how many Ready pods it had.
        most: likewise.
        changed: when it last changed, by the monotonic clock.
    """

    lowest: float
    highest: float
    fewest: int
    most: int
    changed: float


class World:
    """The nodes and pods; an asynchronous context manager.

    Args:
        api: the Kubernetes API that has them.
        seed: for the pods.

    Attributes:
        apps: the applications.
        exporters: by node.
        past: of each application.
        pods_known: whether the Kubernetes API has sent every change since the last quiet phase.
    """

    def __init__(self, api: FaultyAPI, seed: str) -> None:
        self.apps = [
            App(namespace, name, 4 + BAND * (len(APPS) * i + j))
            for i, namespace in enumerate(NAMESPACES)
            for j, name in enumerate(APPS)
        ]
        self.exporters: dict[str, Exporter] = {}
        self.past: dict[App, Past] = {}
        self.pods_known = True
        self._api = api
        self._rng = Random(seed)  # noqa: S311 - nothing is to be secret
        self._pods: dict[tuple[str, str], SimulatedPod] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for number in range(NODES):
            node = f"gpu-{number}"
            exporter = Exporter(partial(self._page, node))
            self.exporters[node] = await self._stack.enter_async_context(exporter)
            self.announce(node)
        for app in self.apps:
            for number in range(PODS_AT_FIRST):
                self.put(self.new(app, f"{app.name}-{number}"))
        self.forget()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def announce(self, node: str) -> None:
        """Publish the address of a node's exporter."""
        self._api.apply(ENDPOINT_SLICES, manifests.endpoint_slice(node, self.exporters[node].port))

    def withdraw(self, node: str) -> None:
        """Withdraw the address of a node's exporter."""
        name = f"{manifests.EXPORTER_SERVICE}-{node}"
        if self._api.store.get(ENDPOINT_SLICES, manifests.EXPORTER_NAMESPACE, name):
            self._api.delete(ENDPOINT_SLICES, manifests.EXPORTER_NAMESPACE, name)

    def new(self, app: App, name: str) -> SimulatedPod:
        """A new pod, on some node."""
        gpus = tuple(self._value(app) for _ in range(self._rng.choice((1, 1, 2))))
        return SimulatedPod(app, name, f"gpu-{self._rng.randrange(NODES)}", gpus)

    def reloaded(self, pod: SimulatedPod) -> SimulatedPod:
        """The pod with a different load."""
        return structs.replace(pod, gpus=tuple(self._value(pod.app) for _ in pod.gpus))

    def put(self, pod: SimulatedPod) -> None:
        """Create or change a pod."""
        self._pods[pod.key] = pod
        self._api.apply(
            PODS,
            pod_object(
                pod.name,
                namespace=pod.app.namespace,
                labels={"app": pod.app.name},
                node=pod.node,
                gpus=len(pod.gpus),
                ready=pod.ready,
                deleted=pod.terminating,
            ),
        )
        self._note(pod.app)

    def remove(self, pod: SimulatedPod) -> None:
        """Delete a pod, if it is still there."""
        if self._pods.pop(pod.key, None) is not None:
            self._api.delete(PODS, *pod.key)
            self._note(pod.app)

    def of(self, app: App) -> list[SimulatedPod]:
        """Its pods."""
        return [pod for pod in self._pods.values() if pod.app == app]

    def settle(self) -> None:
        """Give every application a number of pods within bounds, all Ready and working."""
        for app in self.apps:
            for pod in self.of(app):
                if pod.terminating or not pod.works:
                    self.remove(pod)
                elif not pod.ready:
                    self.put(structs.replace(pod, ready=True))
            names = {pod.name for pod in self.of(app)}
            free = (name for n in range(99) if (name := f"{app.name}-{n}") not in names)
            while len(self.of(app)) < FEWEST_PODS:
                self.put(self.new(app, next(free)))
            for pod in self.of(app)[MOST_PODS:]:
                self.remove(pod)

    def forget(self) -> None:
        """Forget the past: from here on only the present explains an answer."""
        self.past.clear()
        self.pods_known = True
        for app in self.apps:
            self._note(app, changed=0)

    def drains(self, app: App) -> bool:
        """Whether one of its pods is terminating."""
        return any(pod.terminating for pod in self.of(app))

    def right(self, app: App) -> tuple[str, str]:
        """The exact answer while nothing drains: the value, and how many pods it covers."""
        values = [fmean(pod.gpus) for pod in self.of(app) if pod.ready]
        mean = Decimal(repr(fmean(values))).quantize(Decimal(1), ROUND_HALF_UP)
        return str(mean), f"{len(values)}/{len(values)}"

    def _value(self, app: App) -> int:
        return self._rng.randint(app.low, app.high)

    def _note(self, app: App, changed: float | None = None) -> None:
        """Add the present to the past."""
        pods = [pod for pod in self.of(app) if pod.ready]
        # A draining pod counts as 0 once its work is gone.
        values = [fmean(pod.gpus) if not pod.terminating else 0 for pod in pods]
        values += [fmean(pod.gpus) for pod in pods]
        low, high = min(values, default=app.low), max(values, default=app.high)
        before = self.past.get(app) or Past(low, high, len(pods), len(pods), 0)
        self.past[app] = Past(
            min(before.lowest, low),
            max(before.highest, high),
            min(before.fewest, len(pods)),
            max(before.most, len(pods)),
            monotonic() if changed is None else changed,
        )

    def _page(self, node: str, value: float | None) -> str:
        """The page of a node's exporter."""
        families: defaultdict[str, list[str]] = defaultdict(list)
        number = 0
        for pod in self._pods.values():
            if pod.node != node or not pod.works:
                continue
            for gpu in pod.gpus:
                told = gpu if value is None else value
                labels = (
                    f'gpu="{number}",UUID="GPU-{node}-{number}",modelName="simulated",'
                    f'Hostname="{node}",container="server",'
                    f'namespace="{pod.app.namespace}",pod="{pod.name}"'
                )
                families["DCGM_FI_DEV_GPU_UTIL"].append(f"{{{labels}}} {told}\n")
                families["DCGM_FI_DEV_FB_USED"].append(f"{{{labels}}} {1000 + 10 * told}\n")
                families["DCGM_FI_DEV_GPU_TEMP"].append(f"{{{labels}}} {40 + told % 40}\n")
                number += 1
        return "".join(
            f"# HELP {family} simulated\n# TYPE {family} gauge\n"
            + "".join(family + row for row in rows)
            for family, rows in families.items()
        )
