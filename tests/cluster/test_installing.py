"""Installing on a real control plane: an administrator follows docs/install.md."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from metrics_server.kube.client import connect
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.serving import SERVING
from tests.cluster.cluster import API_SERVICE, EXAMPLE_FILES, GROUP, METRIC, Cluster
from tests.deployments.manifests import DEPLOYMENTS, FILES, NAMESPACE, SERVER
from tests.support.waiting import eventually

AUTOSCALERS = ("gpu-load", "gpu-load-by-sum")
CERTIFICATES = ("-n", NAMESPACE, "get", "secret", f"{SERVER}-certificates", "-o=jsonpath={.data}")
NODES_OF_REPLICAS = (
    *("-n", NAMESPACE, "get", "pods", f"-l=app.kubernetes.io/name={SERVER}"),
    *("--sort-by=.spec.nodeName", "-o=jsonpath=<{.items[*].spec.nodeName}>"),
)


async def test_one_command_and_the_example_scales(cluster: Cluster) -> None:
    """After `kubectl apply -k deployments/`, both example HPAs scale on exporters' values."""
    await cluster.install()
    await cluster.kubectl("apply", *EXAMPLE_FILES)
    for name in AUTOSCALERS:
        ready = "-o=jsonpath={.status.readyReplicas}"
        await cluster.becomes("4", "get", "deployment", name, ready)
        assert "ValidMetricFound" in await cluster.kubectl("describe", "hpa", name)
    answer = await cluster.becomes('"pods":"4/4"', "get", "--raw", METRIC)
    (item,) = json.loads(answer)["items"]
    assert (item["value"], item["metricLabels"]["source"]) == ("100", "exporters")


@pytest.mark.parametrize("cluster", [{"only": 8}], indirect=True)
async def test_a_cluster_of_one_node(cluster: Cluster) -> None:
    """Both replicas, the exporter and the examples fit on the only node."""
    await cluster.install()
    await cluster.measures()


async def test_replicas_are_spread_and_leave_gpu_nodes_alone(cluster: Cluster) -> None:
    """Replicas are on different nodes not reserved for GPU pods, also after a restart."""
    await cluster.install()
    await cluster.becomes("<cpu-0 cpu-1>", *NODES_OF_REPLICAS)
    await cluster.restart()
    await cluster.rolled_out()
    await cluster.becomes("<cpu-0 cpu-1>", *NODES_OF_REPLICAS)


@pytest.mark.parametrize("cluster", [{"gpu": 8, "a-0": 0, "a-1": 0, "b": 0}], indirect=True)
async def test_replicas_are_spread_over_zones(cluster: Cluster) -> None:
    """If nodes are in zones, replicas are in different zones, even if others have more room."""
    for zone, nodes in (("a", ("a-0", "a-1")), ("b", ("b", "gpu"))):
        await cluster.kubectl("label", "nodes", *nodes, f"topology.kubernetes.io/zone={zone}")
    container = {"name": "large", "image": "large", "resources": {"requests": {"cpu": "8"}}}
    large = json.dumps({"spec": {"nodeName": "b", "containers": [container]}})
    await cluster.becomes("default", "get", "serviceaccount", "default")
    await cluster.kubectl("run", "large", "--image=large", f"--overrides={large}")
    await cluster.becomes("Running", "get", "pod", "large")
    await cluster.install()
    await cluster.becomes(" b>", *NODES_OF_REPLICAS)


async def test_an_idle_gpu_is_not_scaled(cluster: Cluster) -> None:
    """An HPA whose pods' GPUs are idle reads 0, a number, and stays at its minimum."""
    cluster.nodes.utilization = 0
    await cluster.install()
    await cluster.measures()
    for name in AUTOSCALERS:
        await cluster.becomes("ValidMetricFound", "describe", "hpa", name)
        hpa = json.loads(await cluster.kubectl("get", "hpa", name, "-o=json"))
        (metric,) = hpa["status"]["currentMetrics"]
        (source,) = metric.keys() - {"type"}
        assert set(metric[source]["current"].values()) == {"0"}
        assert hpa["status"]["desiredReplicas"] == 1


async def test_the_files_one_by_one(cluster: Cluster) -> None:
    """Applying the files in the order of deployments/README.md has the same result."""
    await cluster.label_nodes()
    for name in FILES:
        await cluster.kubectl("apply", "-f", DEPLOYMENTS / f"{name}.yaml")
    await cluster.serves()
    await cluster.measures()


async def test_applying_twice_changes_nothing(cluster: Cluster) -> None:
    """A second apply changes nothing, including what the server wrote: caBundle and Secret."""
    await cluster.install()
    before = await cluster.kubectl(*CERTIFICATES)
    assert await cluster.kubectl("diff", "-k", DEPLOYMENTS) == ""
    again = await cluster.kubectl("apply", "-k", DEPLOYMENTS)
    changed = [line for line in again.splitlines() if not line.endswith(" unchanged")]
    # For a PodDisruptionBudget kubectl always says so: its selector is always replaced.
    assert changed == [f"poddisruptionbudget.policy/{SERVER} configured"]
    assert await cluster.kubectl(*CERTIFICATES) == before
    assert "True" in await cluster.kubectl("get", "apiservice", API_SERVICE)


async def test_applying_on_the_servers_side(cluster: Cluster) -> None:
    """GitOps tools do this: a second apply reverts nothing that the server has written."""
    apply = ("apply", "--server-side", "-k", DEPLOYMENTS)
    await cluster.label_nodes()
    await cluster.kubectl(*apply)
    await cluster.serves()
    bundle = ("get", "apiservice", API_SERVICE, "-o=jsonpath={.spec.caBundle}")
    before = await cluster.kubectl(*bundle)
    certificates = await cluster.kubectl(*CERTIFICATES)
    assert await cluster.kubectl("diff", *apply[1:]) == ""
    await cluster.kubectl(*apply)
    assert await cluster.kubectl(*bundle) == before != ""
    assert await cluster.kubectl(*CERTIFICATES) == certificates
    assert "tls.key" in certificates


async def test_kubectl_finds_the_metrics(cluster: Cluster) -> None:
    """They are among the cluster's resources, and each can be read by name."""
    await cluster.install()
    await cluster.measures()
    listed = await cluster.kubectl("api-resources", f"--api-group={GROUP}", "-o=name")
    assert set(listed.split()) == {f"{rule.name}.{GROUP}" for rule in (*CATALOGUE, *SERVING)}
    for name in ("gpu_utilization", f"gpu_utilization.{GROUP}"):
        assert "exporters" in await cluster.kubectl("get", name, "-l=app=gpu-load")


async def test_the_clusters_openapi_is_whole(cluster: Cluster) -> None:
    """kube-apiserver adds the server's descriptions to its own, which do not change."""
    before = await cluster.read("/openapi/v2")
    await cluster.install()
    ours = f"/apis/{GROUP}/v1beta1/"

    async def described(path: str) -> dict[str, object]:
        return await cluster.read(path)

    def has(document: dict[str, object], path: str) -> bool:
        paths = document["paths"]
        return isinstance(paths, dict) and path in paths

    after = await eventually(lambda: described("/openapi/v2"), lambda d: has(d, ours), 60)
    for part in ("paths", "definitions"):
        old, new = before[part], after[part]
        assert isinstance(old, dict)
        assert isinstance(new, dict)
        assert {name: new.get(name) for name in old} == old
        own = ("external.metrics", "custom.metrics", SERVER)
        assert all(any(one in name for one in own) for name in set(new) - set(old))
    await eventually(
        lambda: described("/openapi/v3"), lambda d: has(d, f"apis/{GROUP}/v1beta1"), 60
    )


async def test_a_rollout_loses_no_request(cluster: Cluster) -> None:
    """While all replicas are replaced, every request through kube-apiserver is answered."""
    cluster.nodes.utilization = 50  # nothing is scaled meanwhile
    await cluster.install()
    await cluster.measures()
    old = list(cluster.nodes.servers.values())
    async with answering(cluster):
        await cluster.restart()
        await cluster.rolled_out()
        for server in old:
            assert await server.wait() == 0


async def test_a_drain_loses_no_request(cluster: Cluster) -> None:
    """A node can be drained: its replica is evicted once, and another replaces it."""
    cluster.nodes.utilization = 50  # nothing is scaled meanwhile
    await cluster.install()
    await cluster.measures()
    async with answering(cluster):
        await cluster.kubectl("drain", "cpu-0", "--ignore-daemonsets", "--timeout=60s")
        await cluster.becomes("<cpu-1 cpu-1>", *NODES_OF_REPLICAS)
        await cluster.rolled_out()


@asynccontextmanager
async def answering(cluster: Cluster) -> AsyncIterator[None]:
    """Keep asking through kube-apiserver during the context: every request is answered."""
    client = await connect(cluster.plane.kubeconfig)
    answers = 0

    async def ask() -> None:
        nonlocal answers
        while True:
            assert b'"source":"exporters"' in await client.get(METRIC, {}, timeout=10)
            answers += 1

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await client.close()
    assert answers > 100


async def test_production(cluster: Cluster) -> None:
    """The overlay's exporter, off the host's network, is found and read like the other."""
    await cluster.install(DEPLOYMENTS / "overlays" / "production")
    await cluster.measures()


async def test_beside_the_gpu_operator(cluster: Cluster) -> None:
    """The operator's exporters are found, and a restricted namespace admits the server."""
    await cluster.kubectl("create", "namespace", "gpu-operator")
    operators = DEPLOYMENTS / "dcgm-exporter.yaml"
    text = await asyncio.to_thread(operators.read_text, "utf-8")
    file = cluster.plane.kubeconfig.with_name("operator.yaml")
    await asyncio.to_thread(
        file.write_text,
        text.partition("---\n")[2]
        .replace("namespace: gpu-monitoring", "namespace: gpu-operator")
        .replace("name: dcgm-exporter\n  namespace", "name: nvidia-dcgm-exporter\n  namespace"),
    )
    await cluster.kubectl("apply", "-f", file)
    await cluster.install(DEPLOYMENTS / "overlays" / "gpu-operator")
    enforced = r"-o=jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}"
    assert await cluster.kubectl("get", "namespace", NAMESPACE, enforced) == "restricted"
    await cluster.measures()


async def test_beside_amds_gpu_operator(cluster: Cluster) -> None:
    """The overlay is accepted unchanged, and the server serves."""
    await cluster.install(DEPLOYMENTS / "overlays" / "amd")
    assert (await cluster.read("/apis/external.metrics.k8s.io/v1beta1"))["resources"]


async def test_certificates_of_ones_own(cluster: Cluster, tmp_path: Path) -> None:
    """The pods wait for the Secret; the commands that `certs` prints are enough to serve."""
    await cluster.label_nodes()
    await cluster.kubectl("apply", "-k", DEPLOYMENTS / "overlays" / "own-certificates")
    pair = ("certs", "--service", SERVER, "--namespace", NAMESPACE, "--out", tmp_path / "mine")
    told = await output(sys.executable, "-m", "metrics_server", *pair)
    commands = re.findall(r"^ *(kubectl (?:.*\\\n)*.*)$", told, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        await output("sh", "-c", command, KUBECONFIG=str(cluster.plane.kubeconfig))
    await cluster.serves()
    await cluster.measures()


async def output(*command: str | Path, **environment: str) -> str:
    """The output of a command, which must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=os.environ | environment
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, command
    return out.decode()
