"""Suggested commands run against the examined cluster, and no other."""

from pathlib import Path

import pytest
import yaml

from metrics_server.doctor.aiming import Aim, aimed
from metrics_server.simulator.faults import Fault
from tests.doctor.running import Run
from tests.doctor.scene import Scene


@pytest.mark.parametrize(
    ("command", "aim", "shown"),
    [
        ("kubectl get pods", Aim(), "kubectl get pods"),
        (
            "kubectl get pods\n# kubectl\nkubectl top",
            Aim(Path("/home/k")),
            "kubectl --kubeconfig /home/k get pods\n# kubectl\nkubectl --kubeconfig /home/k top",
        ),
        (
            "gpu-metrics-server doctor -n a",
            Aim(Path("/home/my files/k")),
            "gpu-metrics-server doctor --kubeconfig '/home/my files/k' -n a",
        ),
        (
            "kubectl get pods\nhelm upgrade a b\ngpu-metrics-server ask x",
            Aim(None, "prod eu"),
            (
                "kubectl --context 'prod eu' get pods\nhelm --kube-context 'prod eu' upgrade a b\n"
                "gpu-metrics-server ask --context 'prod eu' x"
            ),
        ),
        ("kubectl x", Aim(Path("/k"), "b"), "kubectl --kubeconfig /k --context b x"),
        (
            "kubectl delete x && kubectl apply && helm y",
            Aim(Path("/k")),
            (
                "kubectl --kubeconfig /k delete x && kubectl --kubeconfig /k apply && "
                "helm --kubeconfig /k y"
            ),
        ),
        ("helmet x", Aim(Path("/k")), "helmet x"),
    ],
)
def test_the_cluster_is_in_each_command(command: str, aim: Aim, shown: str) -> None:
    """It is at the start, quoted; comments are unchanged."""
    assert aimed(command, aim) == shown


async def test_a_fix_is_for_the_cluster_that_was_examined(scene: Scene, run: Run) -> None:
    """The current context may be another cluster."""
    await scene.cluster.set_fault(Fault("error"), exporters=1)
    text = (await run("doctor")).out
    assert f"kubectl --kubeconfig {scene.kubeconfig} -n gpu-monitoring logs dcgm-exporter" in text
    assert "kubectl -n" not in text


async def test_a_context_is_used_and_is_in_the_commands(scene: Scene, run: Run) -> None:
    """It replaces the kubeconfig's current one, for each of the commands."""
    config = yaml.safe_load(scene.kubeconfig.read_text())
    (there,) = config["contexts"]
    config["contexts"].append({"name": "other", "context": there["context"]})
    config["contexts"].append({"name": "gone", "context": {"cluster": "no", "user": "no"}})
    scene.kubeconfig.write_text(yaml.safe_dump({**config, "current-context": "gone"}))
    await scene.cluster.set_fault(Fault("error"), exporters=1)

    assert "it has no cluster with the name no" in (await run("doctor")).err
    text = (await run("doctor", "--context", "other")).out
    kubectl = f"kubectl --kubeconfig {scene.kubeconfig} --context other"
    assert f"{kubectl} -n gpu-monitoring logs dcgm-exporter" in text
    assert (await run("top", "--context", "other")).status == 0
    ran = await run("ask", "gpu_utilization", "-l", "app=x", "--context", "other")
    assert f"doctor --kubeconfig {scene.kubeconfig} --context other" in ran.out
    ran = await run("top", "--context", "missing")
    assert ran.status == 2
    assert ran.err.endswith(" cannot be used: it has no context with the name missing\n")
