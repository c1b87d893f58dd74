"""Uninstalling from a real control plane, also while the server is down."""

import pytest

from tests.cluster.cluster import API_SERVICES, EXAMPLE_FILES, Cluster
from tests.deployments.manifests import DEPLOYMENTS, NAMESPACE, SERVER
from tests.support.waiting import eventually

Named = tuple[str, ...]

CONDITIONS = "-o=jsonpath={.status.conditions}"


async def everything(cluster: Cluster) -> set[Named]:
    """The kind, namespace and name of every object, except events."""
    listable = (await cluster.kubectl("api-resources", "--verbs=list", "-o=name")).split()
    kinds = ",".join(kind for kind in listable if not kind.startswith("events"))
    columns = "-o=custom-columns=:.kind,:.metadata.namespace,:.metadata.name"
    out = await cluster.kubectl("get", kinds, "--all-namespaces", "--no-headers", columns)
    return {tuple(line.split()) for line in out.splitlines()}


async def settled(cluster: Cluster) -> set[Named]:
    """All objects, once the controllers have created theirs."""
    seen: list[set[Named]] = []

    async def look() -> set[Named]:
        seen.append(await everything(cluster))
        return seen[-1]

    def quiet(now: set[Named]) -> bool:
        own = ("ServiceAccount", "default", "default")
        return own in now and len(seen) > 10 and all(before == now for before in seen[-10:])

    return await eventually(look, quiet, 60)


@pytest.mark.parametrize(
    "first", [["delete", "apiservice", *API_SERVICES], ["get", "apiservice", *API_SERVICES]]
)
async def test_it_leaves_nothing_behind(cluster: Cluster, first: list[str]) -> None:
    """Exactly the objects from before are left; by `kubectl delete -k` alone, too."""
    before = await settled(cluster)
    await cluster.install()
    await cluster.measures()
    installed = await everything(cluster) - before
    assert ("Secret", NAMESPACE, f"{SERVER}-certificates") in installed
    await cluster.kubectl("delete", *EXAMPLE_FILES)
    await cluster.kubectl(*first)
    await cluster.kubectl("delete", "-k", DEPLOYMENTS, "--ignore-not-found")
    await eventually(lambda: everything(cluster), lambda now: now == before, 60)


async def test_without_its_apiservice_a_server_that_is_down_holds_nothing_up(
    cluster: Cluster,
) -> None:
    """Namespaces can be deleted: an unrelated one, and the server's own."""
    await cluster.install()
    cluster.nodes.stop_servers()
    await cluster.kubectl("delete", "apiservice", *API_SERVICES)
    await cluster.kubectl("create", "namespace", "some")
    for namespace in ("some", NAMESPACE):
        await cluster.kubectl("delete", "namespace", namespace, "--timeout=80s")


async def test_a_left_over_apiservice(cluster: Cluster) -> None:
    """As docs/install.md says: how to notice it, and that deleting it is enough."""
    await cluster.install()
    cluster.nodes.stop_servers()
    for name in API_SERVICES:
        await cluster.becomes("False", "get", "apiservice", name)
    await cluster.kubectl("create", "namespace", "some")
    await cluster.kubectl("delete", "namespace", "some", "--wait=false")
    told = await cluster.becomes("external.metrics.k8s.io", "get", "namespace", "some", CONDITIONS)
    assert "NamespaceDeletionDiscoveryFailure" in told
    await cluster.kubectl("delete", "apiservice", *API_SERVICES)
    await cluster.kubectl("wait", "--for=delete", "namespace/some", "--timeout=80s")
