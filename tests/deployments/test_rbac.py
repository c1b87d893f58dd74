import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from metrics_server.kube.workloads import KINDS
from metrics_server.simulator import manifests
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import (
    API_SERVICES,
    AUTOSCALERS,
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    PODS,
    SECRETS,
    Object,
)
from metrics_server.simulator.kube.reviews import Caller
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.self_managed import names_of
from tests.deployments.manifests import (
    DEPLOYMENTS,
    NAMESPACE,
    SERVER,
    at,
    build,
    find,
    kinds,
    read,
    server_container,
    texts,
)
from tests.deployments.rbac import AccessControl, Grant, grants, taken_away
from tests.support.exporters import PageExporter, page
from tests.support.forking import PIPE, STDOUT, ForkedProcess, fork
from tests.support.harness import write_kubeconfig
from tests.support.objects import pod
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

ACCOUNT: Object = {"kind": "ServiceAccount", "name": SERVER, "namespace": NAMESPACE}
RULES = [*read(DEPLOYMENTS / "rbac.yaml"), *read(DEPLOYMENTS / "custom-metrics.yaml")]
GRANTED = tuple(grants(RULES, ACCOUNT))
SECRET = find(RULES, "Secret", f"{SERVER}-certificates")
AUTHORITY = find(RULES, "ConfigMap", f"{SERVER}-ca")
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"
METRIC = f"{EXTERNAL}/gpu_utilization?labelSelector=app%3Dinference"
CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
PODS_METRIC = f"{CUSTOM}/pods/*/gpu_utilization"
# A broken HPA, which the server warns about.
SHRINKING: Object = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "shrinking", "namespace": "default", "uid": "u-1"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "inference"},
        "minReplicas": 1,
        "maxReplicas": 10,
        "metrics": [
            {
                "type": "External",
                "external": {
                    "metric": {
                        "name": "gpu_utilization",
                        "selector": {"matchLabels": {"app": "inference"}},
                    },
                    "target": {"type": "AverageValue", "averageValue": "70"},
                },
            }
        ],
    },
    "status": {"currentReplicas": 1, "desiredReplicas": 1},
}
OBJECT_METRICS = [f"{CUSTOM}/{resource}/none/gpu_utilization" for resource in KINDS]


@dataclass
class Deployed:
    """The command as the manifest runs it, in a cluster that allows only the grants.

    Attributes:
        api: the cluster.
        access: in front of it.
        exporter: measures its pod.
        process: the command.
        output: its output so far.
    """

    api: KubernetesAPI
    access: AccessControl
    exporter: PageExporter
    process: ForkedProcess
    output: bytearray

    @property
    def text(self) -> str:
        """Its output so far."""
        return self.output.decode()

    @property
    def url(self) -> str | None:
        """Its URL; None until it serves."""
        for line in self.text.splitlines():
            if line.startswith("{") and "url" in (told := json.loads(line)):
                return str(told["url"])
        return None

    async def lose_and_regain(self) -> None:
        """Ask while the exporter fails, and again when it works: that causes events on the HPA."""
        for status in (500, 200):
            self.exporter.status = status
            await self.ask(METRIC)

    async def ask(self, path: str) -> str:
        """The answer to a user with a bearer token, verified as by kube-apiserver; "" if none.

        Only the APIService's caBundle is trusted, and only the Service's name.
        """
        service = self.api.store.get(API_SERVICES, "", "v1beta1.external.metrics.k8s.io")
        bundle = at(service, "spec", "caBundle")
        if self.url is None or not isinstance(bundle, str):
            return ""
        context = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(
                    self.url + path,
                    ssl=context,
                    server_hostname=names_of(SERVER, NAMESPACE)[0],
                    headers={"Authorization": "Bearer of-the-user"},
                ) as response,
            ):
                return f"{response.status} {await response.text()}"
        except aiohttp.ClientError:
            return ""


@asynccontextmanager
async def deployed(
    granted: Sequence[Grant], folder: Path, *, secret: bool = True, settings: str = ""
) -> AsyncIterator[Deployed]:
    """Run the command as the manifest does, but on loopback and a free port.

    Args:
        granted: what it may do.
        folder: for files.
        secret: whether its Secret exists, as in the manifest.
        settings: more of its configuration, as YAML.
    """
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubernetesAPI())
        # A server that does not stream lists needs every rule.
        api.faults.streams_lists = False
        SimulatedTrust(api, {"of-the-user": Caller("user")})
        exporter = await stack.enter_async_context(PageExporter(page({("default", "a"): [40, 60]})))
        api.apply(PODS, pod("a"))
        api.apply(ENDPOINT_SLICES, manifests.endpoint_slice("gpu-0", exporter.port))
        for service in kinds(build("."), "APIService"):
            api.apply(API_SERVICES, service)
        api.apply(CONFIG_MAPS, AUTHORITY)
        api.apply(AUTOSCALERS, SHRINKING)
        if secret:
            api.apply(SECRETS, SECRET)
        access = await stack.enter_async_context(AccessControl(api.url, granted))
        write_kubeconfig(folder / "kubeconfig", access.url, b"")
        (folder / "config.yaml").write_text(
            f"fallback: {{chain: [error]}}\nexporters: {{maxAge: 1ms}}\n{settings}"
        )
        process = await fork(
            "metrics_server.commands.main",
            *texts(server_container(build(".")), "args"),
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--shutdown-delay-duration=0s",
            f"--config={folder / 'config.yaml'}",
            f"--kubeconfig={folder / 'kubeconfig'}",
            stdout=PIPE,
            stderr=STDOUT,
        )
        output = bytearray()
        reading = asyncio.create_task(_read_all(process, output))
        try:
            yield Deployed(api, access, exporter, process, output)
        finally:
            if process.returncode is None:
                process.terminate()
            api.faults.drop_watches()
            await process.wait()
            await reading


async def _read_all(process: ForkedProcess, output: bytearray) -> None:
    assert process.stdout is not None
    while chunk := await process.stdout.read(65536):
        output += chunk


async def test_with_these_rules_everything_works_and_each_is_needed(tmp_path: Path) -> None:
    """With only rbac.yaml the server is ready, verified and answering; every rule is used."""
    async with deployed(GRANTED, tmp_path) as server:

        async def answer() -> str:
            return await server.ask(METRIC)

        assert '"value":"50"' in await eventually(answer, lambda text: text.startswith("200"))
        assert '"value":"50"' in await server.ask(PODS_METRIC)
        for path in OBJECT_METRICS:
            assert "404" in (told := await server.ask(path))
            assert "there is no" in told
        assert await server.ask("/readyz") == "200 ok"

        async def unused() -> set[Grant]:
            await server.lose_and_regain()
            return set(GRANTED) - server.access.used

        await eventually(unused, lambda left: not left)
        # Everything that it leaves is in the namespace, and goes with it.
        left = server.api.store.snapshot(SECRETS, server.api.store.version)
        assert list(left) == [(NAMESPACE, f"{SERVER}-certificates")]
        assert server.access.refused == set()


async def test_without_its_secret_it_says_what_to_do(tmp_path: Path) -> None:
    """It may not create one, and the log has the command for it."""
    async with deployed(GRANTED, tmp_path, secret=False) as server:

        async def told() -> str:
            return server.text

        command = f"kubectl -n {NAMESPACE} create secret generic {SERVER}-certificates"
        await eventually(told, lambda text: command in text)
        assert {(call.verb, call.resource) for call in server.access.refused} == {
            ("create", "secrets")
        }
        server.api.apply(SECRETS, SECRET)

        async def answer() -> str:
            return await server.ask(METRIC)

        await eventually(answer, lambda answer: answer.startswith("200"), 30)


@pytest.mark.parametrize("gone", taken_away(GRANTED), ids=lambda g: f"{g[0].verb} {g[0].resource}")
async def test_without_a_rule_something_named_fails(gone: Sequence[Grant], tmp_path: Path) -> None:
    """Without any one of the grants, the server says exactly what it may not do."""
    left = [grant for grant in GRANTED if grant not in gone]
    async with deployed(left, tmp_path) as server:

        async def told() -> str:
            await server.lose_and_regain()
            paths = (METRIC, "/readyz?verbose", *OBJECT_METRICS)
            return server.text + "".join([await server.ask(path) for path in paths])

        words = [f'cannot {one.verb} resource "{one.resource}"' for one in gone]
        await eventually(told, lambda text: all(one in text.replace('\\"', '"') for one in words))
        refused = {(call.verb, call.resource) for call in server.access.refused}
        assert refused == {(one.verb, one.resource) for one in gone}


def test_nothing_is_granted_by_a_wildcard() -> None:
    """No rule is for all verbs, groups or resources, and writes are limited to named objects."""
    for grant in GRANTED:
        assert "*" not in (grant.verb, grant.group, grant.resource)
        # It creates only reviews, which are not stored, and events, which expire.
        assert grant.verb != "create" or grant.resource.endswith(("reviews", "events"))
        counts_events = (grant.verb, grant.resource) == ("patch", "events")
        assert grant.verb in ("get", "list", "watch", "create") or counts_events or grant.names
        # Credentials and configuration are read only by name.
        assert grant.resource not in ("secrets", "configmaps", "apiservices") or grant.names


@pytest.mark.parametrize("role", ["view", "edit", "admin"])
def test_who_may_see_a_namespace_may_read_its_metrics(role: str) -> None:
    """The cluster's own roles aggregate the readers' rules, which only read."""
    for name, group, verbs in (
        ("reader", "external.metrics.k8s.io", ["get", "list"]),
        ("custom-metrics-reader", "custom.metrics.k8s.io", ["get"]),
    ):
        reader = find(RULES, "ClusterRole", f"{SERVER}:{name}")
        label = f"rbac.authorization.k8s.io/aggregate-to-{role}"
        assert at(reader, "metadata", "labels", label) == "true"
        assert at(reader, "rules") == [{"apiGroups": [group], "resources": ["*"], "verbs": verbs}]


def test_what_the_server_fills_is_empty() -> None:
    """Applying a manifest again reverts nothing that it does not set."""
    assert SECRET.keys() == {"apiVersion", "kind", "metadata", "type"}
    assert SECRET["type"] == "Opaque"
    assert AUTHORITY.keys() == {"apiVersion", "kind", "metadata"}
