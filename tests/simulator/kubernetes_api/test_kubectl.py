"""kubectl reads the simulated Kubernetes API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import (
    AUTOSCALERS,
    EVENTS,
    PODS,
    RESOURCES,
    Object,
)
from tests.support import carried

pytestmark = pytest.mark.slow


@asynccontextmanager
async def kubectl(
    api: KubernetesAPI, home: Path, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A kubectl for that API."""
    process = await asyncio.create_subprocess_exec(
        carried.kubectl(),
        f"--server={api.url}",
        f"--cache-dir={home}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(home), "KUBECONFIG": "/dev/null"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def printed(api: KubernetesAPI, home: Path, *arguments: str) -> str:
    """The output of kubectl."""
    async with kubectl(api, home, *arguments) as process:
        out, error = await process.communicate()
        return (out + error).decode()


async def test_kubectl_lists_pods(api: KubernetesAPI, tmp_path: Path) -> None:
    """The output has each pod's name, readiness, phase and node."""
    lines = (await printed(api, tmp_path, "get", "pods", "--all-namespaces")).splitlines()
    assert lines[0].split() == ["NAMESPACE", "NAME", "READY", "STATUS", "NODE"]
    first = ["default", "inference-cb965885-7t8sd", "1/1", "Running", "gpu-node-0"]
    assert lines[1].split() == first
    assert len(lines) == 7


async def test_kubectl_shows_an_object(api: KubernetesAPI, tmp_path: Path) -> None:
    """An object is printed in full, a missing one in the API's words."""
    shown = await printed(api, tmp_path, "get", "pod", "inference-cb965885-7t8sd", "-o", "yaml")
    assert "kind: Pod" in shown
    assert 'nvidia.com/gpu: "1"' in shown
    missing = await printed(api, tmp_path, "get", "pod", "x")
    assert missing == 'Error from server (NotFound): pods "x" not found\n'


async def test_kubectl_describes_an_hpa_with_its_events(api: KubernetesAPI, tmp_path: Path) -> None:
    """The HPA's events, not those of another."""
    hpa: Object = {
        "metadata": {"name": "inference", "namespace": "default", "uid": "u-1"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "a"}, "maxReplicas": 2},
        "status": {},
    }
    api.apply(AUTOSCALERS, hpa)
    for name, reason in (("inference", "LastKnownValue"), ("other", "SimulatedValue")):
        involved: Object = {
            "kind": "HorizontalPodAutoscaler",
            "name": name,
            "namespace": "default",
            "uid": "u-1",
        }
        event: Object = {
            "metadata": {"name": f"{name}.1", "namespace": "default"},
            "involvedObject": involved,
            "type": "Warning",
            "reason": reason,
            "message": "why",
        }
        api.apply(EVENTS, event)
    shown = await printed(api, tmp_path, "describe", "hpa", "inference")
    assert "LastKnownValue" in shown
    assert "SimulatedValue" not in shown


async def test_kubectl_pages(api: KubernetesAPI, tmp_path: Path) -> None:
    """It reads the pages as it would a real API server's."""
    shown = await printed(api, tmp_path, "get", "pods", "--chunk-size=2", "-o", "name")
    assert len(shown.splitlines()) == 6
    assert sum("continue" in url.query for url in api.requests) == 2


async def test_kubectl_watches(api: KubernetesAPI, tmp_path: Path) -> None:
    """A watch prints a change as it happens."""
    async with kubectl(api, tmp_path, "get", "pods", "--watch", "-l", "app=w") as process:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            while not api.open_watches:  # noqa: ASYNC110 - it is kubectl that is waited for
                await asyncio.sleep(0.01)
            api.apply(PODS, {"metadata": {"name": "x", "labels": {"app": "w"}}})
            assert (await process.stdout.readline()).split() == [
                b"NAME",
                b"READY",
                b"STATUS",
                b"NODE",
            ]
            row = await process.stdout.readline()
    assert row.split() == [b"x", b"0/0", b"Unknown", b"<none>"]


async def test_kubectl_discovers(api: KubernetesAPI, tmp_path: Path) -> None:
    """Every resource is listed with its short name, which can be used."""
    table = await printed(api, tmp_path, "api-resources", "--no-headers")
    rows = {tuple(line.split()) for line in table.splitlines()}
    assert ("pods", "po", "v1", "true", "Pod") in rows
    assert ("nodes", "no", "v1", "false", "Node") in rows
    assert ("deployments", "deploy", "apps/v1", "true", "Deployment") in rows
    assert len(rows) == len(RESOURCES)
    assert "gpu-node-2" in await printed(api, tmp_path, "get", "no")
