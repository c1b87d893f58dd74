"""The Helm chart on a real control plane: install, test, upgrade, roll back and uninstall."""

import asyncio
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.cluster.cluster import API_SERVICE, API_SERVICES, EXAMPLE_FILES, Cluster
from tests.cluster.test_installing import CERTIFICATES, answering
from tests.cluster.test_uninstalling import everything, settled
from tests.deployments.chart import CHART
from tests.deployments.manifests import NAMESPACE, SERVER
from tests.support.carried import helm, oldest_helm
from tests.support.waiting import eventually

BUNDLE = ("get", "apiservice", API_SERVICE, "-o=jsonpath={.spec.caBundle}")
IN_NAMESPACE = f"--namespace={NAMESPACE}"
WAIT = ("--wait", "--timeout=90s")
either = pytest.mark.parametrize("program", [helm, oldest_helm], ids=["current", "oldest"])


class Release:
    """The release in a cluster.

    Args:
        cluster: the cluster.
        *arguments: for every Helm command: where the release's record is.
        program: returns Helm's path.
    """

    def __init__(
        self, cluster: Cluster, *arguments: str, program: Callable[[], str] = helm
    ) -> None:
        self._program = program()
        self._cluster = cluster
        self._arguments = arguments

    async def __call__(self, *arguments: str | Path) -> str:
        """The output of a Helm command, which must succeed."""
        environment: Mapping[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._cluster.plane.kubeconfig.parent),
            "KUBECONFIG": str(self._cluster.plane.kubeconfig),
        }
        process = await asyncio.create_subprocess_exec(
            *(self._program, *arguments, *self._arguments),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 180)
        text = out.decode()
        assert process.returncode == 0, f"helm {arguments}: {text}"
        return text

    async def install(self, *arguments: str) -> str:
        """Install the chart, until the server serves."""
        await self._cluster.label_nodes()
        told = await self("install", SERVER, CHART, *WAIT, *arguments)
        await self._cluster.serves()
        return told


@either
async def test_a_releases_life(cluster: Cluster, program: Callable[[], str]) -> None:
    """Each command works, none loses a request, and only the namespace is left."""
    before = await settled(cluster)
    release = Release(cluster, IN_NAMESPACE, program=program)
    cluster.nodes.utilization = 50  # nothing is scaled meanwhile

    told = await release.install("--create-namespace")
    assert f"helm test {SERVER} --namespace {NAMESPACE}" in told
    await cluster.measures()
    assert "Phase:          Succeeded" in await release("test", SERVER)
    written = [await cluster.kubectl(*one) for one in (BUNDLE, CERTIFICATES)]

    async with answering(cluster):
        production = ("--set=config.fallback.chain={last-known,error}", *WAIT)
        await release("upgrade", SERVER, CHART, *production)
        await cluster.rolled_out()
        config = ("-n", NAMESPACE, "get", "configmap", SERVER, "-o=jsonpath={.data}")
        assert "simulated" not in await cluster.kubectl(*config)
        await release("rollback", SERVER, *WAIT)
        await cluster.rolled_out()
        assert "simulated" in await cluster.kubectl(*config)
    # What the server wrote into the chart's objects is still there.
    assert [await cluster.kubectl(*one) for one in (BUNDLE, CERTIFICATES)] == written
    assert "tls.key" in written[1]

    await cluster.kubectl("delete", *EXAMPLE_FILES)
    removed = deleted(await release("uninstall", SERVER, "--debug"))
    # As long as there is an APIService, its server must exist.
    assert set(removed[:2]) == set(API_SERVICES)
    assert SERVER in removed[2:]
    # Objects in every namespace.
    theirs = {(kind, NAMESPACE, name) for kind, where, name in before if where == "default"}
    expected = before | theirs | {("Namespace", "<none>", NAMESPACE)}
    await eventually(lambda: everything(cluster), expected.issuperset, 60)
    await cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=80s")
    await eventually(lambda: everything(cluster), lambda now: now == before, 60)


def deleted(log: str) -> Sequence[str]:
    """The names of the objects that `helm uninstall --debug` deletes, in order."""
    return re.findall(r'[Ss]tarting delete (?:resource.* name=|for ")([^\s"]+)', log)


async def test_the_chart_makes_the_namespace(cluster: Cluster) -> None:
    """With the release's record elsewhere, nothing at all is left."""
    before = await settled(cluster)
    release = Release(cluster)
    await release.install(f"--set=namespace.create=true,namespace.name={NAMESPACE}")
    assert "Succeeded" in await release("test", SERVER)
    await release("uninstall", SERVER)
    await eventually(lambda: everything(cluster), lambda now: now == before, 60)


@either
async def test_what_kustomize_installed_is_taken_over(
    cluster: Cluster, program: Callable[[], str]
) -> None:
    """A cluster moves from `kubectl apply -k` to Helm without losing a request."""
    cluster.nodes.utilization = 50  # nothing is scaled meanwhile
    await cluster.install()
    await cluster.measures()
    bundle = await cluster.kubectl(*BUNDLE)
    async with answering(cluster):
        release = Release(cluster, IN_NAMESPACE, program=program)
        # Helm 3 has no such flag: it does not apply server-side, so nothing conflicts.
        force = ["--force-conflicts"] if program is helm else []
        await release("install", SERVER, CHART, "--take-ownership", *force, *WAIT)
        await cluster.rolled_out()
    assert await cluster.kubectl(*BUNDLE) == bundle
    assert json.loads(await release("list", "-o=json"))[0]["status"] == "deployed"
