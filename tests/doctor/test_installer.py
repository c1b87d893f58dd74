"""Fixes match the server's installation: by Helm, or from files."""

import pytest

from metrics_server.doctor.causes import first_causes
from metrics_server.doctor.installer import Installer, installer_of
from metrics_server.doctor.objects import Meta
from tests.deployments.manifests import ROOT
from tests.doctor import exporter_faults, server_faults
from tests.doctor.fault_table import Break
from tests.doctor.scene import Scene

MANAGED = {"app.kubernetes.io/managed-by": "Helm"}
RELEASE = {"meta.helm.sh/release-name": "gpu", "meta.helm.sh/release-namespace": "mine"}
UPGRADE = "helm upgrade gpu --namespace mine deployments/helm/gpu-metrics-server"


@pytest.mark.parametrize(
    ("labels", "annotations", "release"),
    [
        (MANAGED, RELEASE, Installer("gpu", "mine")),
        (MANAGED, {"meta.helm.sh/release-name": "gpu"}, Installer("gpu", "there")),
        (MANAGED, {}, Installer()),
        # As `helm template | kubectl apply` may leave it.
        ({"app.kubernetes.io/managed-by": "kustomize"}, RELEASE, Installer()),
        (None, None, Installer()),
    ],
)
def test_what_helm_writes(
    labels: dict[str, str] | None, annotations: dict[str, str] | None, release: Installer
) -> None:
    """A release is recognized by its label together with its annotations."""
    assert installer_of(Meta("server", "there", labels, annotations)) == release


def test_a_name_runs_nothing() -> None:
    """Anyone who may edit the Deployment can write its annotations."""
    assert Installer("a; rm -rf ~\n", "b").upgrade.startswith(
        "helm upgrade 'a; rm -rf ~\\n' --namespace b deployments/"
    )


@pytest.mark.parametrize(
    ("breaks", "fix"),
    [
        (
            server_faults.no_api_service,
            (
                f"{UPGRADE} --reuse-values --set apis.external=true\n# or, if this API should "
                f"not be served: {UPGRADE} --reuse-values --set apis.external=false"
            ),
        ),
        (
            server_faults.of_keda,
            (
                "kubectl delete apiservice v1beta1.external.metrics.k8s.io && "
                f"{UPGRADE} --reuse-values --set apis.external=true\n"
            ),
        ),
        (server_faults.server_rights, f"{UPGRADE} --reuse-values"),
        (
            server_faults.bad_configuration,
            (
                "helm get values gpu --namespace mine >values.yaml\n"
                f"# correct config in values.yaml, then\n{UPGRADE} --values values.yaml"
            ),
        ),
        (
            exporter_faults.no_service,
            f"{UPGRADE} --reuse-values --set exporters.preset=dcgm   # if there is no exporter",
        ),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
async def test_fixes_of_a_release(scene: Scene, breaks: Break, fix: str) -> None:
    """They upgrade it: changes by kubectl would conflict, or be undone."""
    await breaks(scene)
    scene.deployment(
        metadata__labels={"app.kubernetes.io/name": "gpu-metrics-server", **MANAGED},
        metadata__annotations={**RELEASE},
    )
    (cause,) = first_causes(await scene.doctor())
    assert fix in cause.fix
    assert "kubectl apply" not in cause.fix
    assert (ROOT / "deployments/helm/gpu-metrics-server/Chart.yaml").exists()
