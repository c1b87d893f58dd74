"""Suggested commands run against the cluster that was examined, and no other."""

from pathlib import Path

import pytest

from metrics_server.doctor.aiming import aimed
from metrics_server.simulator.faults import Fault
from tests.doctor.running import Run
from tests.doctor.scene import Scene


@pytest.mark.parametrize(
    ("command", "kubeconfig", "shown"),
    [
        ("kubectl get pods", None, "kubectl get pods"),
        (
            "kubectl get pods\n# kubectl\nkubectl top",
            "/home/k",
            "kubectl --kubeconfig /home/k get pods\n# kubectl\nkubectl --kubeconfig /home/k top",
        ),
        (
            "gpu-metrics-server doctor -n a",
            "/home/my files/k",
            "gpu-metrics-server doctor --kubeconfig '/home/my files/k' -n a",
        ),
        ("helmet x", "/k", "helmet x"),
    ],
)
def test_the_kubeconfig_is_in_each_command(
    command: str, kubeconfig: str | None, shown: str
) -> None:
    """At its beginning, quoted; comments stay as they are."""
    assert aimed(command, Path(kubeconfig) if kubeconfig else None) == shown


async def test_a_fix_is_for_the_cluster_that_was_examined(scene: Scene, run: Run) -> None:
    """The current context may be another cluster."""
    await scene.cluster.set_fault(Fault("error"), exporters=1)
    text = (await run("doctor")).out
    assert f"kubectl --kubeconfig {scene.kubeconfig} -n gpu-monitoring logs dcgm-exporter" in text
    assert "kubectl -n" not in text
