"""A cluster as its administrator sees it."""

import json
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from tests.cluster.control_plane import ControlPlane
from tests.cluster.nodes import Nodes
from tests.deployments.manifests import DEPLOYMENTS, EXAMPLES, NAMESPACE, SERVER
from tests.support.kubectl import Ran
from tests.support.waiting import eventually

GROUP = "external.metrics.k8s.io"
API_SERVICE = f"v1beta1.{GROUP}"
CUSTOM_GROUP = "custom.metrics.k8s.io"
CUSTOM_API_SERVICE = f"v1beta2.{CUSTOM_GROUP}"
API_SERVICES = (API_SERVICE, CUSTOM_API_SERVICE)
EXAMPLE_FILES = tuple(f"--filename={DEPLOYMENTS / name}" for name in EXAMPLES)
CUSTOM = f"/apis/{CUSTOM_GROUP}/v1beta2/namespaces/default"
METRIC = f"/apis/{GROUP}/v1beta1/namespaces/default/gpu_utilization?labelSelector=app%3Dgpu-load"

# Controllers take seconds where other parts of these tests take milliseconds.
_PATIENCE_SECONDS = 60


class Cluster(Struct, frozen=True):
    """A cluster.

    Attributes:
        plane: its control plane.
        nodes: its nodes.
    """

    plane: ControlPlane
    nodes: Nodes

    async def kubectl(self, *arguments: str | Path) -> str:
        """The output of a kubectl command, which must succeed."""
        ran = await self.plane.kubectl(*arguments)
        assert ran.status == 0, f"kubectl {arguments}: {ran}"
        return ran.out

    async def becomes(self, expected: str, *arguments: str | Path) -> str:
        """Wait until a kubectl command's output contains this, and return the output."""

        def holds(ran: Ran) -> bool:
            return ran.status == 0 and expected in ran.out

        ran = await eventually(lambda: self.plane.kubectl(*arguments), holds, _PATIENCE_SECONDS)
        return ran.out

    async def refuses(self, *arguments: str) -> None:
        """Wait until a kubectl command fails."""
        await eventually(
            lambda: self.plane.kubectl(*arguments), lambda ran: ran.status != 0, _PATIENCE_SECONDS
        )

    async def logged(self, expected: str) -> None:
        """Wait until any server has logged this."""

        async def logs() -> str:
            return self.nodes.logs().replace('\\"', '"')

        await eventually(logs, lambda text: expected in text, _PATIENCE_SECONDS)

    async def read(self, path: str) -> dict[str, object]:
        """The JSON object at a path of the API."""
        read: dict[str, object] = json.loads(await self.kubectl("get", "--raw", path))
        return read

    async def install(
        self, folder: Path = DEPLOYMENTS, api_services: Sequence[str] = API_SERVICES
    ) -> None:
        """Follow docs/install.md, until the server serves."""
        await self.label_nodes()
        await self.kubectl("apply", "-k", folder)
        await self.serves(api_services)

    async def label_nodes(self) -> None:
        """Label the nodes that have GPUs."""
        await self.kubectl("label", "nodes", *self.nodes.with_gpus, "nvidia.com/gpu=present")

    async def serves(self, api_services: Sequence[str] = API_SERVICES) -> None:
        """Wait until kube-apiserver finds the server available, and all its replicas are new."""
        for name in api_services:
            await self.becomes("True", "get", "apiservice", name)
        await self.rolled_out()

    async def rolled_out(self) -> None:
        """Wait until all replicas match the Deployment."""
        status = ("rollout", "status", f"deployment/{SERVER}", f"--timeout={_PATIENCE_SECONDS}s")
        await self.kubectl("-n", NAMESPACE, *status)

    async def restart(self) -> None:
        """Start to replace every replica."""
        await self.kubectl("-n", NAMESPACE, "rollout", "restart", f"deployment/{SERVER}")

    async def measures(self) -> None:
        """Run the examples, and wait until their metric comes from exporters."""
        await self.kubectl("apply", *EXAMPLE_FILES)
        await self.becomes('"source":"exporters"', "get", "--raw", METRIC)
