"""The tools that people use: kubectl, and the official Python client.

Both talk to the simulated Kubernetes API, whose aggregator forwards to the real server.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config

from metrics_server.api.types import GROUP, GROUP_VERSION, VERSION
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.serving import SERVING
from metrics_server.simulator.kube.front_proxy import FrontProxy
from tests.support import carried
from tests.support.exporters import page
from tests.support.harness import Cluster, cluster
from tests.support.kubectl import Kubectl
from tests.support.objects import pod

pytestmark = pytest.mark.slow

DISCOVERY = f"/apis/{GROUP_VERSION}"
METRIC = f"{DISCOVERY}/namespaces/default/gpu_utilization"


@asynccontextmanager
async def aggregated(simulated: Cluster) -> AsyncIterator[Cluster]:
    """The cluster, whose API server forwards the group to the metrics server."""
    assert simulated.server.bundle is not None
    async with FrontProxy(simulated.server.url, simulated.server.bundle) as proxy:
        simulated.api.aggregate(GROUP, VERSION, proxy)
        yield simulated


@pytest.fixture
async def simulated() -> AsyncIterator[Cluster]:
    """A cluster with three pods of different utilization and temperature."""
    pods = [pod("a"), pod("b"), pod("c", labels={"app": "training"})]
    names = [("default", name) for name in "abc"]
    text = page(dict(zip(names, ([80], [87], [13]), strict=True)))
    text += page(dict(zip(names, ([40], [41], [42]), strict=True)), "DCGM_FI_DEV_GPU_TEMP")
    async with cluster({"gpu-0": text}, pods) as made, aggregated(made):
        yield made


@pytest.fixture
def kubectl(simulated: Cluster, tmp_path: Path) -> Kubectl:
    """A kubectl for that cluster."""
    return Kubectl(carried.kubectl(), simulated.kubeconfig, tmp_path)


async def test_get_raw_discovery(kubectl: Kubectl) -> None:
    """`kubectl get --raw` shows the metrics, with and without the slash."""
    for path in (DISCOVERY, f"{DISCOVERY}/"):
        ran = await kubectl("get", "--raw", path)
        assert (ran.status, ran.err) == (0, "")
        listed = msgspec.json.decode(ran.out, type=dict[str, object])
        assert (listed["kind"], listed["groupVersion"]) == ("APIResourceList", GROUP_VERSION)


async def test_get_raw_metric(kubectl: Kubectl) -> None:
    """The documented command prints the value of just the selected pods."""
    ran = await kubectl("get", "--raw", f"{METRIC}?labelSelector=app%3Dinference")
    assert (ran.status, ran.err) == (0, "")
    body = msgspec.json.decode(ran.out, type=dict[str, object])
    (item,) = msgspec.convert(body["items"], list[dict[str, object]])
    assert item["value"] == "84"
    assert item["metricLabels"] == {"source": "exporters", "pods": "2/2"}


async def test_api_resources(kubectl: Kubectl) -> None:
    """`kubectl api-resources` lists every metric as namespaced."""
    ran = await kubectl("api-resources", "--api-group", GROUP, "--no-headers")
    assert (ran.status, ran.err) == (0, "")
    assert [row[:3] for row in sorted(ran.table)] == [
        [name, GROUP_VERSION, "true"]
        for name in sorted(rule.name for rule in (*CATALOGUE, *SERVING))
    ]


# What `kubectl get` is asked, and the row that it prints.
ROWS: list[tuple[list[str], list[str]]] = [
    (["gpu_utilization"], ["gpu_utilization", "60", "exporters", "3/3"]),
    (["gpu_temperature"], ["gpu_temperature", "41", "exporters", "3/3"]),
    (["gpu_utilization", "-l", "app=inference"], ["gpu_utilization", "84", "exporters", "2/2"]),
    (
        ["gpu_utilization", "-l", "app notin (inference)"],
        ["gpu_utilization", "13", "exporters", "1/1"],
    ),
]
# What `kubectl get` is asked, and how the error begins.
ERRORS: list[tuple[list[str], str]] = [
    (
        ["--raw", f"{METRIC}?labelSelector=app%3Dtypo"],
        'Error from server (NotFound): no pods in namespace "default" match "app=typo": ',
    ),
    (
        ["--raw", f"{DISCOVERY}/namespaces/default/nope"],
        'Error from server (NotFound): there is no metric "nope"',
    ),
    (
        ["--raw", f"{METRIC}?labelSelector=app%3D%3D%3Dx"],
        "Error from server (BadRequest): unable to parse requirement: ",
    ),
    (
        [f"gpu_utilization.{GROUP}", "-n", "nowhere"],
        (
            f'Error from server (NotFound): Unable to list "{GROUP_VERSION}, '
            'Resource=gpu_utilization": no pods in namespace "nowhere": '
        ),
    ),
    (
        [f"gpu_memory_used.{GROUP}"],
        (
            "Error from server (ServiceUnavailable): 0 of 3 pods have a measurement: the "
            "exporters answered but gave no value for pods a, b, c"
        ),
    ),
    (
        [f"nope.{GROUP}"],
        'error: the server doesn\'t have a resource type "nope"',
    ),
]


async def test_get_a_metric(kubectl: Kubectl) -> None:
    """`kubectl get METRIC` returns that metric only, out of several."""
    for (name, *rest), row in ROWS:
        ran = await kubectl("get", f"{name}.{GROUP}", "-n", "default", *rest)
        assert (ran.status, ran.err) == (0, "")
        headings, printed = ran.table
        assert headings == ["NAME", "VALUE", "SOURCE", "PODS", "TIMESTAMP"]
        assert printed[:4] == row, rest


async def test_error_messages(kubectl: Kubectl) -> None:
    """A person reads the server's own message after the reason."""
    for arguments, message in ERRORS:
        ran = await kubectl("get", *arguments)
        assert (ran.status, ran.out) == (1, ""), arguments
        assert ran.err.startswith(message), arguments


def with_official_client(kubeconfig: Path, selector: str) -> tuple[int, dict[str, object]]:
    """The status and body that the official client's CustomObjectsApi returns; it blocks."""
    with kubernetes_config.new_client_from_config(str(kubeconfig)) as made:
        try:
            objects = kubernetes_client.CustomObjectsApi(made)
            status = 200
            body = objects.list_namespaced_custom_object(
                GROUP, VERSION, "default", "gpu_utilization", label_selector=selector
            )
        except kubernetes_client.ApiException as refused:
            # If raised further, it would keep the connection open.
            status, body = refused.status, msgspec.json.decode(refused.body)
        finally:
            # The client leaves its connections to the garbage collector.
            made.rest_client.pool_manager.clear()
    return status, msgspec.convert(body, dict[str, object])


async def test_the_official_client_reads_a_metric(simulated: Cluster) -> None:
    """A program in Python gets the value through CustomObjectsApi."""
    status, body = await asyncio.to_thread(
        with_official_client, simulated.kubeconfig, "app in (inference)"
    )
    assert status == 200
    (item,) = msgspec.convert(body["items"], list[dict[str, object]])
    assert (item["value"], item["metricName"]) == ("84", "gpu_utilization")


async def test_the_official_client_tells_the_error(simulated: Cluster) -> None:
    """A program in Python gets the Status, its code and its message."""
    status, body = await asyncio.to_thread(with_official_client, simulated.kubeconfig, "app=typo")
    assert (status, body["kind"], body["reason"]) == (404, "Status", "NotFound")
    assert 'no pods in namespace "default" match "app=typo"' in str(body["message"])
