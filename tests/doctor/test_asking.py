"""The command `ask`: what an HPA gets."""

import json

import pytest

from metrics_server.simulator.faults import Fault
from metrics_server.simulator.kube.objects import PODS, Json, Object
from tests.doctor import workload_faults
from tests.doctor.running import Run
from tests.doctor.scene import PODS_METRIC, Scene
from tests.support.waiting import eventually


async def test_both_apis_are_asked(scene: Scene, run: Run) -> None:
    """One value with its source, and each pod's value."""
    ran = await run("ask", "gpu_utilization", "-l", "app=inference")
    assert ran.status == 0
    external, pods = ran.out.split("\n\n")
    assert external.startswith(
        'External metric gpu_utilization in namespace default, selector "app=inference"\n  40   ('
    )
    assert "source exporters" in external
    rows = [line.split() for line in pods.splitlines()[1:]]
    assert rows[0] == ["POD", "VALUE", "MEASURED"]
    assert [row[:2] for row in rows[1:]] == [[pod.name, "40"] for pod in scene.cluster.pods]


async def test_an_hpa_s_own_question(run: Run) -> None:
    """With its target's selector."""
    ran = await run("ask", "--hpa", "inference")
    assert ran.status == 0
    assert ran.out.startswith("Pods metric gpu_utilization in namespace default")
    assert ran.out.count("  40  ") == 2


async def test_why_there_is_no_value(scene: Scene, run: Run) -> None:
    """The error message, and the command that finds out more."""
    ran = await run("ask", "gpu_utilization", "-l", "app=inferense", "-n", "default")
    assert ran.status == 1
    assert 'no value (HTTP 404): no pods in namespace "default" match "app=inferense"' in ran.out
    doctor = f"gpu-metrics-server doctor --kubeconfig {scene.kubeconfig} --namespace default"
    assert f"to find out why: {doctor} --metric gpu_util" in ran.out
    # Both APIs give the same answer, which is printed once.
    assert ran.out.startswith("External and Pods metric gpu_utilization in namespace default, ")
    assert len(ran.out.splitlines()) == 3
    await scene.cluster.set_fault(Fault("down"))
    ran = await run("ask", "gpu_power_usage", "-l", "app=inference")
    assert "0 of 2 pods have a measurement: exporter http" in ran.out
    ran = await run("ask", "--hpa", "inference")
    assert f"to find out why: {doctor} --hpa inference" in ran.out


async def test_a_value_that_is_not_measured(scene: Scene, run: Run) -> None:
    """It is a value, and the doctor knows why it is not measured."""
    await workload_faults.fallback(scene)
    ran = await run("ask", "gpu_utilization", "-l", "app=inference")
    assert ran.status == 0
    assert "  71   (source simulated), measured " in ran.out
    assert "  to find out why: gpu-metrics-server doctor --kubeconfig" in ran.out


async def test_a_pod_without_a_value_is_shown(scene: Scene, run: Run) -> None:
    """With its state."""
    pod = scene.api.store.get(PODS, "default", scene.pod_name)
    assert pod is not None
    meta: Object = {"name": "newer", "namespace": "default", "labels": {"app": "inference"}}
    scene.api.apply(PODS, {**pod, "metadata": meta})
    ran = await run("ask", "gpu_utilization", "-l", "app=inference", "--output", "json")
    pods = json.loads(ran.out)[1]
    assert pods["podsWithoutValue"] == ["newer"]
    ran = await run("ask", "gpu_utilization", "-l", "app=inference")
    assert ["newer", "none", "Ready"] in [line.split() for line in ran.out.splitlines()]


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"metadata__deletionTimestamp": "2026-11-26T09:00:00Z"}, ["terminating"]),
        ({"status__phase": "Pending"}, ["Pending"]),
        ({"status__conditions": []}, ["not", "Ready"]),
        (
            {"spec__containers__0__resources": {"limits": {"cpu": "1"}}},
            ["Ready,", "without", "a", "GPU"],
        ),
    ],
)
async def test_states_of_pods(
    scene: Scene, run: Run, fields: dict[str, Json], state: list[str]
) -> None:
    """Why a pod may have no value."""
    scene.change(PODS, "default", scene.pod_name, **fields)

    async def asked() -> list[list[str]]:
        ran = await run("ask", "gpu_utilization", "-l", "app=inference")
        return [line.split() for line in ran.out.splitlines()]

    # The server sees the change a moment later.
    rows = await eventually(asked, lambda rows: [scene.pod_name, "none", *state] in rows)
    # A terminating pod needs no investigation.
    assert any(row[:3] == ["to", "find", "out"] for row in rows) is (state != ["terminating"])


async def test_an_api_that_is_not_registered(scene: Scene, run: Run) -> None:
    """It says so, and the other API answers."""
    scene.api._aggregated.pop(("external.metrics.k8s.io", "v1beta1"))
    ran = await run("ask", "gpu_utilization", "-l", "app=inference")
    assert ran.status == 0
    assert "this API is not registered in the cluster: kubectl get apiservices" in ran.out


async def test_rights_to_the_metrics_are_enough(scene: Scene, run: Run) -> None:
    """Without the right to list pods, those with a value are still shown."""
    scene.api.faults.forbid("/api/v1/")
    scene.api.faults.forbid("/apis/apps")
    ran = await run("ask", "gpu_utilization", "-l", "app=inference")
    assert ran.status == 0
    assert scene.pod_name in ran.out


async def test_a_target_that_is_gone(scene: Scene, run: Run) -> None:
    """The selector is unknown, and no request is sent."""
    scene.hpa(
        PODS_METRIC, scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
    )
    ran = await run("ask", "--hpa", "inference")
    assert ran.status == 1
    assert 'not asked: there is no Deployment "x" in namespace "default"' in ran.out


async def test_wrong_flags(run: Run) -> None:
    """Each is named."""
    for arguments, message in (
        ((), "ask needs either a METRIC with --selector, or --hpa"),
        (("gpu_utilization",), "--selector: name the labels of the pods"),
        (("--hpa", "inferense"), "the HPA default/inferense does not exist"),
    ):
        ran = await run("ask", *arguments)
        assert ran.status == 2
        assert message in ran.err


async def test_a_selector_of_series(scene: Scene, run: Run) -> None:
    """It is sent unchanged, and is not taken for a pod label."""
    selector = "app=inference,series/modelName=NVIDIA_A100-SXM4-80GB"
    ran = await run("ask", "gpu_utilization", "-l", selector)
    assert ran.status == 0, ran
    assert f'selector "{selector}"' in ran.out
    outcomes = await scene.doctor({"namespace": "default", "selector": selector})
    assert {one.name for check in outcomes for one in check.problems} == set()
