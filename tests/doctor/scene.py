"""A cluster in which everything works, for tests to break."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from metrics_server import __version__
from metrics_server.api.types import CUSTOM_GROUP, CUSTOM_VERSIONS, GROUP, VERSION
from metrics_server.commands.doctor import examine
from metrics_server.doctor.aiming import Aim
from metrics_server.doctor.model import Outcome, Problem
from metrics_server.doctor.reader import Subject
from metrics_server.kube.labels import parse_selector
from metrics_server.simulator import installation, manifests
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.gpus.workload import Load
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.front_proxy import FrontProxy
from metrics_server.simulator.kube.objects import (
    API_SERVICES,
    AUTOSCALERS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    PODS,
    Json,
    Object,
    Resource,
)
from metrics_server.simulator.kube.reviews import Access, Caller
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.wiring.options import ServeOptions
from metrics_server.wiring.server import RunningServer, running
from tests.support.exporters import PageExporter
from tests.support.harness import configuration, kubernetes_api, write_kubeconfig
from tests.support.waiting import until

NODES = ("gpu-node-0", "gpu-node-1")
SERVER_NAMESPACE = manifests.EXPORTER_NAMESPACE
IMAGE = f"gpu-metrics-server:{__version__}"
CONFIG = "fallback: {chain: [error]}\n"


@dataclass
class Scene:
    """The result of `scene`.

    Attributes:
        api: the Kubernetes API.
        trust: its reviews.
        cluster: the workload and its exporters.
        server: the server.
        kubeconfig: leads to the API.
        denied: what reviews deny: the user's name and the resource.
        stack: closes the faults' resources.
    """

    api: KubernetesAPI
    trust: SimulatedTrust
    cluster: Cluster
    server: RunningServer
    kubeconfig: Path
    denied: set[tuple[str, str]]
    stack: AsyncExitStack

    async def doctor(
        self,
        flags: Mapping[str, str] | None = None,
        *,
        interval: float = 0,
        direct: bool = False,
    ) -> Sequence[Outcome]:
        """The doctor's findings.

        Args:
            flags: values of `namespace`, `selector`, `hpa` and `metric`.
            interval: how long it watches exporters.
            direct: whether it reads them at their own addresses.
        """
        given = {"namespace": "", "hpa": "", "metric": "gpu_utilization", **(flags or {})}
        selector = given.get("selector")
        subject = Subject(
            namespace=given["namespace"],
            selector=None if selector is None else parse_selector(selector),
            hpa=given["hpa"],
            metric=given["metric"],
            interval=interval,
            direct=direct,
        )
        return await examine(Aim(self.kubeconfig), subject)

    async def exporter(self, node: str, page: str) -> None:
        """Replace a node's exporter with one that serves this page."""
        exporter = await self.stack.enter_async_context(PageExporter(page))
        self.slice_of(node, ports__0__port=exporter.port)

    def change(self, resource: Resource, namespace: str, name: str, **fields: Json) -> None:
        """Set fields of an object, by paths with "__" between the names."""
        obj = self.api.store.get(resource, namespace, name)
        assert obj is not None
        changed = json.loads(json.dumps(obj))
        for path, value in fields.items():
            *parents, last = path.split("__")
            inner = changed
            for parent in parents:
                inner = inner[int(parent) if parent.isdecimal() else parent]
            inner[int(last) if last.isdecimal() else last] = value
        self.api.apply(resource, changed)

    def api_service(self, **fields: Json) -> None:
        """Change the external metrics API's APIService."""
        self.change(API_SERVICES, "", installation.API_SERVICE_NAMES[0], **fields)

    def config_map(self, text: str) -> None:
        """Replace the server's configuration."""
        self.api.apply(
            CONFIG_MAPS, installation.config_map(installation.SERVER, "config.yaml", text)
        )

    def deployment(self, **fields: Json) -> None:
        """Change the server's Deployment."""
        self.change(DEPLOYMENTS, SERVER_NAMESPACE, installation.SERVER, **fields)

    def slice_of(self, node: str, **fields: Json) -> None:
        """Change the EndpointSlice of a node's exporter."""
        name = f"{manifests.EXPORTER_SERVICE}-{node}"
        self.change(ENDPOINT_SLICES, SERVER_NAMESPACE, name, **fields)

    def pod(self, **fields: Json) -> None:
        """Change the workload's first pod."""
        self.change(PODS, manifests.NAMESPACE, self.pod_name, **fields)

    @property
    def pod_name(self) -> str:
        """The name of the workload's first pod."""
        return self.cluster.pods[0].name

    def hpa(self, metrics: str, *, status: Object | None = None, **spec: Json) -> None:
        """Create the HPA `inference` with these metrics as YAML."""
        self.api.apply(AUTOSCALERS, hpa(metrics, status=status, **spec))


PODS_METRIC = (
    "[{type: Pods, pods: {metric: {name: gpu_utilization}, "
    'target: {type: AverageValue, averageValue: "70"}}}]'
)


def hpa(metrics: str, *, status: Object | None = None, **spec: Json) -> Object:
    """An HPA that scales the workload, with these metrics as YAML."""
    conditions: list[Json] = [
        {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale"},
        {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound"},
    ]
    working: Object = {
        "currentReplicas": 2,
        "desiredReplicas": 2,
        "conditions": conditions,
        "currentMetrics": [
            {
                "type": "Pods",
                "pods": {"metric": {"name": "gpu_utilization"}, "current": {"averageValue": "40"}},
            }
        ],
    }
    return {
        "metadata": {"name": manifests.APP, "namespace": manifests.NAMESPACE},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": manifests.APP,
            },
            "minReplicas": 1,
            "maxReplicas": 8,
            "metrics": yaml.safe_load(metrics),
            **spec,
        },
        "status": working if status is None else status,
    }


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """Two nodes, a Deployment with two pods, a server and an HPA, all working."""
    async with AsyncExitStack() as stack:
        api, authority = await stack.enter_async_context(kubernetes_api())
        trust = SimulatedTrust(api)
        denied: set[tuple[str, str]] = set()

        def decide(caller: Caller, access: Access) -> Object:
            return {"allowed": (caller.name, access.resource) not in denied}

        trust.reviews.decide = decide
        kubeconfig = write_kubeconfig(folder / "kubeconfig", api.url, authority.bundle)
        load = Load(base=80, amplitude=0, noise=0)
        workload = await stack.enter_async_context(
            Cluster(api, nodes=len(NODES), load=load, loading_seconds=0, deleting_seconds=0)
        )
        workload.scale(2)
        options = ServeOptions(kubeconfig=kubeconfig, secure_port=0)
        server = await stack.enter_async_context(running(options, configuration()))
        assert server.bundle is not None
        proxy = await stack.enter_async_context(
            FrontProxy(server.url, server.bundle, trust.front_proxy())
        )
        api.aggregate(GROUP, VERSION, proxy)
        for version in CUSTOM_VERSIONS:
            api.aggregate(CUSTOM_GROUP, version, proxy)
        port = int(server.url.rpartition(":")[2])
        installation.install(
            api, bundle=server.bundle, port=port, image=IMAGE, nodes=NODES, config=CONFIG
        )
        made = Scene(api, trust, workload, server, kubeconfig, denied, stack)
        for pod in workload.pods:
            owner: list[Json] = [
                {"kind": "ReplicaSet", "name": f"{manifests.APP}-abc", "controller": True}
            ]
            labels: Object = {"app": manifests.APP, "pod-template-hash": "abc"}
            fields: dict[str, Json] = {
                "metadata__ownerReferences": owner,
                "metadata__labels": labels,
            }
            made.change(PODS, manifests.NAMESPACE, pod.name, **fields)
        made.hpa(PODS_METRIC)
        await until(lambda: all(one.is_set() for one in server.synced.values()))
        yield made


def problems_of(outcomes: Sequence[Outcome]) -> dict[str, Problem]:
    """The problems by name."""
    return {problem.name: problem for one in outcomes for problem in one.problems}
