"""The demo's cluster is read-only, and says so through kubectl."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml
from aiohttp import ClientSession
from msgspec import Struct

from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.demo.options import DemoOptions, Tempo
from metrics_server.simulator.demo.read_only import ReadOnly
from metrics_server.simulator.demo.utilization import utilization
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.installation import install
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import AUTOSCALERS, Object
from metrics_server.simulator.kube.trust import SimulatedTrust
from tests.support import carried
from tests.support.kubectl import Kubectl

pytestmark = pytest.mark.slow

HPA: Object = {
    "metadata": {"name": "inference"},
    "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "inference"}, "maxReplicas": 2},
}
PAGE = "http://127.0.0.1:8470/"
ON_THE_PAGE = (
    f"the demo's cluster is read-only; change the load, the exporters' faults and the HPA at {PAGE}"
)
IN_PODS = "the demo's pods are simulated: no process runs in them, and they have no logs; kubectl"
# Commands that people would try, with POD for a pod's name.
WRITES = (
    "scale deployment inference --replicas=3",
    'patch hpa inference --type=merge --patch={"spec":{"maxReplicas":3}}',
    "delete pod POD",
    "delete hpa --all",
    "delete apiservice v1beta1.external.metrics.k8s.io",
    "rollout restart deployment inference",
    "create configmap a --from-literal=a=b",
    "create deployment a --image=b",
    "run a --image=b",
    "label pod POD a=b",
    "taint node gpu-node-0 a=b:NoSchedule",
    "expose deployment inference --port=80",
    "create token default",
    "apply --filename=MANIFEST",
    "apply --filename=MANIFEST --server-side",
    "apply --filename=MANIFEST --validate=false",
    "replace --filename=MANIFEST --validate=false",
    "explain pods",
)
INSIDE = (
    "logs POD",
    "exec POD -- ls",
    "attach POD",
    "port-forward POD 8000:80",
    "cp POD:/a /dev/null",
)


@pytest.fixture
def read_only() -> ReadOnly:
    """The explanations in a demo with a page."""
    explains = ReadOnly(DemoOptions())
    explains.page = PAGE
    return explains


class Demo(Struct, frozen=True):
    """A cluster and its API."""

    api: KubernetesAPI
    cluster: Cluster


@pytest.fixture
async def running(read_only: ReadOnly) -> AsyncIterator[Demo]:
    """A cluster like the demo's, with an HPA and an installed server."""
    options = DemoOptions(nodes=1)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubernetesAPI())
        SimulatedTrust(api)
        scene = await stack.enter_async_context(utilization(api, options, Tempo()))
        api.apply(AUTOSCALERS, HPA)
        install(api, bundle=b"PEM", port=1, image="simulated", nodes=["gpu-node-0"])
        read_only.protect(api, scene.cluster)
        yield Demo(api, scene.cluster)


@pytest.fixture
def api(running: Demo) -> KubernetesAPI:
    """The API of that cluster."""
    return running.api


@pytest.fixture
def kubectl(api: KubernetesAPI, tmp_path: Path) -> Kubectl:
    """The real kubectl, with that cluster's kubeconfig."""
    document = {
        "clusters": [{"name": "a", "cluster": {"server": api.url}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(document), encoding="utf-8")
    return Kubectl(carried.kubectl(), kubeconfig, tmp_path)


def words(command: str, manifest: Path) -> list[str]:
    """A command's arguments."""
    filled = command.replace("POD", "inference-0001").replace("MANIFEST", str(manifest))
    return filled.split()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The HPA with another maximum, as a file."""
    path = tmp_path / "hpa.yaml"
    spec = HPA["spec"]
    assert isinstance(spec, dict)
    kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    changed = {**kind, **HPA, "spec": {**spec, "maxReplicas": 5}}
    path.write_text(yaml.safe_dump(changed), encoding="utf-8")
    return path


@pytest.mark.parametrize("command", WRITES)
async def test_a_write_says_what_to_do_instead(
    api: KubernetesAPI, kubectl: Kubectl, manifest: Path, command: str
) -> None:
    """For everything that kubectl could change, whichever request it sends first."""
    version = api.store.version
    ran = await kubectl(*words(command, manifest))
    assert ran.status == 1
    assert ON_THE_PAGE in ran.err
    assert api.store.version == version


@pytest.mark.parametrize("command", INSIDE)
async def test_nobody_looks_into_a_pod(kubectl: Kubectl, manifest: Path, command: str) -> None:
    """There is no kubelet to show logs or run programs."""
    ran = await kubectl(*words(command, manifest))
    assert ran.status == 1
    assert IN_PODS in ran.err


@pytest.mark.parametrize("command", ["auth can-i list pods", "auth whoami"])
async def test_nobody_needs_permission(kubectl: Kubectl, manifest: Path, command: str) -> None:
    """The access reviews of kubectl are not served."""
    ran = await kubectl(*words(command, manifest))
    assert ran.status == 1
    assert "the demo's cluster allows every request that it serves" in ran.err


@pytest.mark.parametrize(
    ("options", "what", "flags"),
    [
        (
            DemoOptions(),
            "the load, the exporters' faults and the HPA",
            "--fault, --metric-type or --nodes",
        ),
        (DemoOptions(signal="queue"), "the load and the HPA", "--metric-type or --nodes"),
    ],
)
async def test_without_a_page_it_names_flags(
    running: Demo, options: DemoOptions, what: str, flags: str
) -> None:
    """Only flags of this demo."""
    api = running.api
    ReadOnly(options).protect(api, running.cluster)
    message = (
        f"the demo's cluster is read-only; restart the demo with --page to change {what} in a "
        f"browser, or with {flags}"
    )
    path = "/apis/apps/v1/namespaces/default/deployments/inference"
    async with ClientSession(api.url) as session, session.delete(path) as response:
        body = await response.json()
    assert (response.status, body["reason"], body["message"]) == (405, "MethodNotAllowed", message)


async def test_the_server_records_events(api: KubernetesAPI) -> None:
    """Otherwise `kubectl describe hpa` would not show them."""
    event: Object = {"metadata": {"generateName": "a"}, "involvedObject": {"namespace": "default"}}
    async with (
        ClientSession(api.url) as session,
        session.post("/api/v1/namespaces/default/events", json=event) as response,
    ):
        assert response.status == 201


async def test_a_deleted_exporter_starts_again(running: Demo, kubectl: Kubectl) -> None:
    """Without its fault, in a pod of the same name: the doctor's advice works."""
    (exporter,) = running.cluster.exporters
    await exporter.set_fault(Fault("down"))
    pod = ("--namespace", "gpu-monitoring", "pod", "dcgm-exporter-gpu-node-0")
    before = await kubectl("get", *pod, "--output=jsonpath={.metadata.uid}")
    ran = await kubectl("delete", *pod)
    after = await kubectl("get", *pod, "--output=jsonpath={.metadata.uid}")
    assert (ran.status, exporter.fault) == (0, None)
    assert before.out != after.out
    async with ClientSession() as session, session.get(exporter.url) as response:
        assert "DCGM_FI_DEV_GPU_UTIL" in await response.text()


async def test_a_restarted_daemon_set_ends_the_faults(running: Demo, kubectl: Kubectl) -> None:
    """On all its exporters, in new pods, with the two commands that the doctor prints."""
    (exporter,) = running.cluster.exporters
    await exporter.set_fault(Fault("down"))
    uid = ("get", "pod", "--output=jsonpath={.metadata.uid}")
    daemon_set = ("--namespace=gpu-monitoring", "daemonset/dcgm-exporter")
    before = await kubectl(*uid, "--namespace=gpu-monitoring", "dcgm-exporter-gpu-node-0")
    restart = await kubectl("rollout", "restart", *daemon_set)
    status = await kubectl("rollout", "status", *daemon_set)
    after = await kubectl(*uid, "--namespace=gpu-monitoring", "dcgm-exporter-gpu-node-0")
    assert (restart.status, restart.out) == (0, "daemonset.apps/dcgm-exporter restarted\n")
    assert (status.status, status.out.split()[-1]) == (0, "out")
    assert (exporter.fault, before.out == after.out) == (None, False)


async def test_pod_labels_can_be_turned_on(running: Demo, kubectl: Kubectl) -> None:
    """With the command that the doctor prints, each time the fault is set."""
    (exporter,) = running.cluster.exporters
    env = ("set", "env", "daemonset/dcgm-exporter", "DCGM_EXPORTER_KUBERNETES=true")
    for _ in range(2):
        await exporter.set_fault(Fault("unlabelled"))
        ran = await kubectl("--namespace=gpu-monitoring", *env)
        assert (ran.status, exporter.fault) == (0, None)


async def test_other_changes_of_a_daemon_set_are_rejected(kubectl: Kubectl) -> None:
    """Such as a new image: nothing would run it."""
    image = ("set", "image", "daemonset/dcgm-exporter", "dcgm-exporter=a")
    ran = await kubectl("--namespace=gpu-monitoring", *image)
    assert ran.status == 1
    assert ON_THE_PAGE in ran.err


async def test_what_is_missing_is_still_missing(kubectl: Kubectl) -> None:
    """Errors about reading are kube-apiserver's."""
    ran = await kubectl("get", "pod", "x")
    assert ran.err == 'Error from server (NotFound): pods "x" not found\n'


@pytest.mark.parametrize(
    ("command", "header", "first"),
    [
        (
            "get apiservices",
            "NAME SERVICE AVAILABLE AGE",
            "v1beta1.external.metrics.k8s.io gpu-monitoring/gpu-metrics-server True",
        ),
        (
            "get daemonsets --namespace=gpu-monitoring",
            "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE AGE",
            "dcgm-exporter 1 1 1 1 1",
        ),
        ("get deployments", "NAME READY UP-TO-DATE AVAILABLE AGE", "inference 2/2 2 2"),
    ],
)
async def test_tables_have_the_columns_of_a_cluster(
    kubectl: Kubectl, command: str, header: str, first: str
) -> None:
    """Including whether an APIService is Available."""
    head, row, *_ = (await kubectl(*command.split())).table
    assert head == header.split()
    assert row[:-1] == first.split()
    assert row[-1].endswith("s")


async def test_everything_can_be_listed(kubectl: Kubectl) -> None:
    """With the command that people try first."""
    out = (await kubectl("get", "all", "--output=name")).out.split()
    assert {"pod/inference-0001", "deployment.apps/inference"} < {*out}


async def test_a_node_shows_its_pods(kubectl: Kubectl) -> None:
    """Not those of other nodes."""
    out = (await kubectl("describe", "node", "gpu-node-0")).out
    assert "Non-terminated Pods:          (3 in total)" in out
