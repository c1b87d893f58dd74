"""Questions without a value: the error says why, and what to do."""

from http import HTTPStatus
from pathlib import Path

import pytest

from tests.support.exporters import PageExporter, page
from tests.support.external_metrics import PAGES, asked, told
from tests.support.harness import cluster, configuration
from tests.support.objects import pod

X = {"app": "x"}


async def test_no_pod_matches() -> None:
    """The message has the selector and the namespace, and what to compare."""
    assert await asked([pod("a", labels={"app": "y"}), pod("a", namespace="n", labels=X)]) == (
        HTTPStatus.NOT_FOUND,
        (
            'no pods in namespace "default" match "app=x": compare the metric\'s selector in the '
            "HPA with the labels of the pods (kubectl get pods -n default --show-labels)"
        ),
    )


async def test_none_requests_a_gpu() -> None:
    """The message says what a container would have to set."""
    assert await asked([pod("a", labels=X, gpus=0), pod("b", labels=X, gpus=0)]) == (
        HTTPStatus.NOT_FOUND,
        (
            'pods in namespace "default" match "app=x" (2), but none of them requests a GPU: a '
            "container must set resources.limits for one of the resources under "
            "pods.gpuResources, such as nvidia.com/gpu"
        ),
    )


async def test_none_is_ready_yet() -> None:
    """The message counts the pods by state; the pods exist, so it is not a 404."""
    pods = [
        pod("a", labels=X, ready=False),
        pod("b", labels=X, ready=False),
        pod("c", labels=X, phase="Pending", ready=False),
        pod("d", labels=X, deleted=True),
    ]
    assert await asked(pods) == (
        HTTPStatus.SERVICE_UNAVAILABLE,
        (
            'GPU pods in namespace "default" match "app=x" (4), but none can be measured '
            "yet: 2 Running but not Ready, 1 Pending, 1 terminating"
        ),
    )


async def test_no_exporter_on_their_nodes() -> None:
    """The message names the nodes."""
    assert await asked([pod("a", labels=X, node="gpu-8"), pod("b", labels=X, node="gpu-9")]) in [
        (
            HTTPStatus.SERVICE_UNAVAILABLE,
            (
                f"0 of 2 pods have a measurement: no exporter is ready on node {one}, node {other} "
                "(is one Running there, and its Service listed under exporters.services?)"
            ),
        )
        for one, other in (("gpu-8", "gpu-9"), ("gpu-9", "gpu-8"))
    ]


async def test_exporters_that_fail() -> None:
    """The message names each exporter by URL, and how it failed."""
    pods = [pod(f"p{n}", labels=X, node=f"gpu-{n}") for n in range(4)]
    config = configuration(
        {"fallback": {"chain": ["error"]}, "exporters": {"timeout": "300ms", "maxAge": "1ms"}}
    )
    async with cluster({f"gpu-{n}": "" for n in range(3)}, pods[:3], config) as simulated:
        broken, silent, cut = simulated.exporters.values()
        broken.status = 500
        silent.may_answer.clear()
        cut.page = page({("default", "p2"): [50]}).rstrip("\n")
        code, message = told(await simulated.client.metric("default", "gpu_utilization", "app=x"))
        silent.may_answer.set()
    assert code == HTTPStatus.SERVICE_UNAVAILABLE
    how = {
        f"exporter {broken.url} answered HTTP 500",
        f"exporter {silent.url} did not answer within 0.3 s",
        f"exporter {cut.url} cut its page short: the last line has no line feed",
    }
    before, _, after = message.partition(": exporter ")
    assert before == "0 of 3 pods have a measurement"
    assert set(f"exporter {after}".split("; ")) == how


async def test_an_exporter_that_is_gone() -> None:
    """A refused connection is reported with the URL of the exporter."""
    async with PageExporter("") as exporter:
        pass
    async with cluster({}, [pod("a", labels=X)], exporters=[exporter.url]) as simulated:
        code, message = told(await simulated.client.metric("default", "gpu_utilization", "app=x"))
    assert code == HTTPStatus.SERVICE_UNAVAILABLE
    assert message.startswith(
        f"0 of 1 pods have a measurement: exporter {exporter.url} could not be reached: "
    )


NOT_NAMED = (
    "the pod has only just started, or its GPU belongs to a sidecar or to a resource that the "
    "exporter is not configured to look for (NVIDIA_RESOURCE_NAMES)"
)
NO_VALUE = "0 of 1 pods have a measurement: the exporters answered but gave no value for pod a"


@pytest.mark.parametrize(
    ("page_name", "metric", "message"),
    [
        (
            "dcgm-2.x",
            "gpu_utilization",
            (
                f"{NO_VALUE}; the page names other pods, but not pod a, and no pod for 4 of the "
                f"GPUs: {NOT_NAMED}"
            ),
        ),
        (
            "dcgm-no-kubernetes",
            "gpu_utilization",
            (
                f"{NO_VALUE}; the page names no pods at all: the exporter needs "
                "DCGM_EXPORTER_KUBERNETES=true and the kubelet's pod-resources socket"
            ),
        ),
        (
            "dcgm-empty",
            "gpu_utilization",
            (
                f"{NO_VALUE}; a page was empty, as is normal until a new exporter's first interval "
                "has passed"
            ),
        ),
    ],
)
async def test_pods_without_a_sample(
    pages: Path, page_name: str, metric: str, message: str
) -> None:
    """The message names the pod, and the cause that the page reveals."""
    text = (pages / f"{page_name}.prom").read_text()
    assert await asked([pod("a", labels=X)], text, metric) == (
        HTTPStatus.SERVICE_UNAVAILABLE,
        message,
    )


async def test_a_value_that_is_not_believed() -> None:
    """An out-of-range value is missing, never clipped, and the message says so."""
    assert await asked([pod("a", labels=X)], page({("default", "a"): [2619]})) == (
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"{NO_VALUE}; values rejected as out of range: 1",
    )


async def test_a_family_that_a_gpu_does_not_have(pages: Path) -> None:
    """An instance of a MIG GPU has no MEM_COPY_UTIL: the value is missing, not 0."""
    text = (pages / "dcgm-mig.prom").read_text()
    async with cluster({"gpu-0": text}, PAGES["dcgm-mig"]) as simulated:
        code, message = told(
            await simulated.client.metric("serving", "gpu_memory_copy_utilization", "app=llm")
        )
    assert code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "gave no value for pod llm-a-5c8d7f6b9-kx2lp" in message


async def test_too_few_pods_are_covered() -> None:
    """Below fallback.minCoverage there is no answer; at it, there is one."""
    pods = [pod("a", labels=X), pod("b", labels=X), pod("c", labels=X)]
    assert await asked(pods, page({("default", "a"): [50]})) == (
        HTTPStatus.SERVICE_UNAVAILABLE,
        (
            "1 of 3 pods have a measurement (fallback.minCoverage requires 50%): the exporters "
            "answered but gave no value for pods b, c; the page names other pods, but not pod b"
            f": {NOT_NAMED}"
        ),
    )
    text = page({("default", "a"): [50], ("default", "c"): [70]})
    async with cluster({"gpu-0": text}, pods) as simulated:
        item = (await simulated.client.metric("default", "gpu_utilization", "app=x")).item()
    assert (item.value, item.metric_labels["pods"]) == ("60", "2/3")
