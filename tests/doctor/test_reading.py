"""How the doctor reads: in a pod, in pages, and with missing rights."""

import asyncio

import pytest

from metrics_server.doctor.api import Api, decoder
from metrics_server.doctor.objects import RunningPod
from metrics_server.doctor.shared import Shared
from metrics_server.errors import KubernetesError
from metrics_server.simulator import installation
from metrics_server.simulator.kube.objects import PODS
from tests.doctor.scene import CONFIG, NODES, SERVER_NAMESPACE, Scene, problems_of
from tests.support.kubernetes import connected


async def test_in_a_pod_exporters_are_read_directly(scene: Scene) -> None:
    """This needs no right to read pods through kube-apiserver; failures are found, too."""
    scene.api.faults.forbid("/proxy/")
    outcomes = {one.check: one for one in await scene.doctor(direct=True)}
    assert outcomes["exporters-failed"].summary == (
        "2 pages read: 2 of dcgm (dcgm-exporter:simulated)"
    )
    assert outcomes["no-sample"].status == "ok"
    assert outcomes["readyz"].status == "skipped"
    scene.slice_of(NODES[0], ports__0__port=9)
    problem = problems_of(await scene.doctor(direct=True))["exporters-failed"]
    assert "could not be reached" in problem.message


async def test_exporters_that_require_credentials_are_not_reported(scene: Scene) -> None:
    """The doctor has none, and says so."""
    auth = "exporters: {scheme: http, auth: {bearerTokenFile: /token}}\n"
    scene.config_map(CONFIG + auth.replace("scheme: http", "scheme: https"))
    outcomes = {one.check: one for one in await scene.doctor()}
    assert "exporters-failed" in problems_of([*outcomes.values()]), "they do not speak TLS"
    scene.slice_of(NODES[0], endpoints__0__targetRef=None)
    scene.slice_of(NODES[1], endpoints__0__targetRef=None)
    outcomes = {one.check: one for one in await scene.doctor()}
    assert outcomes["exporters-failed"].status == "skipped"
    assert "names no pod to reach it through" in outcomes["exporters-failed"].summary


async def test_exporters_that_are_listed_by_url(scene: Scene) -> None:
    """There is nothing to discover."""
    scene.config_map(f"{CONFIG}exporters: {{urls: ['http://10.0.0.1:9400/metrics']}}\n")
    outcomes = {one.check: one for one in await scene.doctor()}
    for name in ("exporters", "no-exporter", "exporters-failed"):
        assert "exporters are listed by URL" in outcomes[name].summary


async def test_who_may_not_look_at_the_server_gets_the_defaults(scene: Scene) -> None:
    """Checks of the server are skipped, and the rest use the default configuration."""
    scene.api.faults.forbid("/apis/apps")
    outcomes = {one.check: one for one in await scene.doctor()}
    assert outcomes["server"].status == "skipped"
    assert outcomes["exporters"].status == "ok"
    assert problems_of([*outcomes.values()]) == {}


async def test_a_config_map_that_is_gone(scene: Scene) -> None:
    """The server does not start without it."""
    scene.deployment(spec__template__spec__volumes__0__configMap={"name": "elsewhere"})
    problem = problems_of(await scene.doctor())["configuration"]
    assert "ConfigMap gpu-monitoring/elsewhere does not exist" in problem.message


async def test_lists_are_read_in_pages(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, or not at all."""
    monkeypatch.setattr("metrics_server.doctor.api._PAGE", 2)
    for number in range(5):
        pod = installation.exporter_pod(f"gpu-{number}")
        scene.api.apply(PODS, pod)
    path = f"/api/v1/namespaces/{SERVER_NAMESPACE}/pods"
    async with connected(scene.kubeconfig) as client:
        api = Api(client)
        assert len(await api.list(path, decoder(RunningPod))) == 5 + len(NODES) + 1
        monkeypatch.setattr("metrics_server.doctor.api._MAX_PAGES", 2)
        with pytest.raises(KubernetesError, match="lists more than 4 objects"):
            await api.list(path, decoder(RunningPod))


async def test_a_page_that_is_too_long(scene: Scene) -> None:
    """It is not read to the end."""
    scene.config_map(f"{CONFIG}exporters: {{maxPageBytes: 1024}}\n")
    problem = problems_of(await scene.doctor())["exporters-failed"]
    assert "sent more than 1024 bytes (exporters.maxPageBytes)" in problem.message


async def test_a_read_is_shared_and_survives_a_caller() -> None:
    """It happens once, whoever gives up; reads in progress are canceled with the rest."""
    reads = 0
    may_end = asyncio.Event()

    async def read() -> int:
        nonlocal reads
        reads += 1
        await may_end.wait()
        return 7

    shared: Shared[str, int] = Shared()
    first = asyncio.create_task(shared.get("a", read))
    second = asyncio.create_task(shared.get("a", read))
    await asyncio.sleep(0)
    first.cancel()
    may_end.set()
    assert (await second, reads) == (7, 1)
    may_end.clear()
    third = asyncio.create_task(shared.get("b", read))
    await asyncio.sleep(0)
    await shared.close()
    with pytest.raises(asyncio.CancelledError):
        await third
