"""A real kube-apiserver's pods: streamed if it offers that, else listed in pages."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.reflector import Reflector
from tests.cluster.control_plane import ControlPlane, control_plane
from tests.support.kubernetes import connected
from tests.support.reflecting import PATH, decode, names, running
from tests.support.waiting import eventually, until

_PODS = 1201
_AT_ONCE = 20


@pytest.mark.parametrize(("gate", "event"), [("true", "streamed"), ("false", "listed")])
async def test_all_pods_and_every_change(
    programs: Path, tmp_path: Path, gate: str, event: str
) -> None:
    """More than two pages; pods come and go meanwhile; and all of them again after a restart."""
    async with (
        control_plane(programs, tmp_path, [f"WatchList={gate}"]) as plane,
        connected(plane.kubeconfig) as client,
    ):
        await _account(plane)
        await _create(client, [f"pod-{number}" for number in range(_PODS)])
        store = PodStore()
        reflector = Reflector(client, PATH, decode, store)
        with capture_logs() as logs:
            async with running(reflector):
                await until(reflector.synced.is_set, 30)
                assert len(store) == _PODS
                await _create(client, ["another"])
                await client.send("DELETE", f"{_IN_NAMESPACE}/pod-7", _AT_ONCE_GONE, timeout=10)
                await until(lambda: "another" in names(store) and "pod-7" not in names(store), 30)
        again = PodStore()
        async with running(Reflector(client, PATH, decode, again)):
            await until(lambda: names(again) == names(store), 30)
    found = [one["event"] for one in logs if one["event"] in ("streamed", "listed")]
    assert found == [event], logs
    refusals = [one["error"] for one in logs if one["event"].startswith("lists are not streamed")]
    assert len(refusals) == (event == "listed")
    assert all("sendInitialEvents" in refusal for refusal in refusals)


_IN_NAMESPACE = "/api/v1/namespaces/default/pods"
_AT_ONCE_GONE: Mapping[str, object] = {"gracePeriodSeconds": 0}


async def _account(plane: ControlPlane) -> None:
    """Wait until pods can be created: the namespace needs its service account."""
    await eventually(
        lambda: plane.kubectl("get", "serviceaccount", "default"), lambda ran: ran.status == 0, 60
    )


async def _create(client: KubernetesClient, pods: list[str]) -> None:
    """Create these pods, several at a time."""
    left = iter(pods)

    async def create() -> None:
        for name in left:
            manifest = {
                "metadata": {"name": name, "labels": {"app": "a"}},
                "spec": {"containers": [{"name": "main", "image": "image"}]},
            }
            await client.send("POST", _IN_NAMESPACE, manifest, timeout=60)

    await asyncio.gather(*(create() for _ in range(_AT_ONCE)))
