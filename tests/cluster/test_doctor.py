"""The doctor on a real control plane: it finds nothing wrong, then each fault; its fixes work."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from metrics_server.commands.doctor import examine
from metrics_server.doctor.aiming import Aim
from metrics_server.doctor.model import Outcome, Problem
from metrics_server.doctor.reader import Subject
from metrics_server.tls.authority import Authority
from tests.cluster.cluster import API_SERVICE, API_SERVICES, Cluster
from tests.cluster.test_custom_metrics import reports, scale_by_pods
from tests.cluster.test_operators import encoded
from tests.cluster.test_stability import deploy
from tests.deployments.manifests import SERVER
from tests.support.waiting import eventually

# kube-apiserver checks an APIService every 30 s.
_PATIENCE_SECONDS = 90


async def doctor(cluster: Cluster) -> Sequence[Outcome]:
    """The doctor's findings from outside the cluster, including its HPA."""
    subject = Subject(namespace="default", hpa="llm", direct=False)
    return await examine(Aim(cluster.plane.kubeconfig), subject)


def named(outcomes: Sequence[Outcome]) -> dict[str, Problem]:
    """The problems by name."""
    return {problem.name: problem for one in outcomes for problem in one.problems}


async def finds(cluster: Cluster, *names: str) -> dict[str, Problem]:
    """Wait until the doctor finds these problems, and return all problems."""
    outcomes = await eventually(
        lambda: doctor(cluster), lambda found: set(names) <= set(named(found)), _PATIENCE_SECONDS
    )
    return named(outcomes)


async def is_well(cluster: Cluster) -> None:
    """Wait until the doctor finds nothing wrong, and can run every check."""
    outcomes = await eventually(
        lambda: doctor(cluster),
        lambda found: {one.status for one in found} <= {"ok", "note"},
        _PATIENCE_SECONDS,
    )
    assert named(outcomes) == {}


async def fix(cluster: Cluster, problem: Problem) -> None:
    """Run the first command of a problem's fix."""
    program, *arguments = shlex.split(problem.fix.splitlines()[0], comments=True)
    assert program == "kubectl"
    await cluster.kubectl(*arguments)


async def test_faults_of_a_cluster_and_their_fixes(cluster: Cluster, tmp_path: Path) -> None:
    """Nothing is wrong; then a right is missing, the caBundle is wrong, an APIService is gone."""
    await cluster.install()
    await deploy(cluster, tmp_path, 2)
    await reports(cluster, "100", "100")
    await scale_by_pods(cluster, tmp_path)
    await is_well(cluster)

    role = ("clusterrolebinding", f"{SERVER}:certificates")
    await cluster.kubectl("delete", *role)
    problem = (await finds(cluster, "server-rights"))["server-rights"]
    assert f"get apiservices.apiregistration.k8s.io {API_SERVICE}" in problem.message

    # The server can no longer restore it.
    wrong = json.dumps({"spec": {"caBundle": encoded(Authority("another").bundle)}})
    await cluster.kubectl("patch", "apiservice", API_SERVICE, "--type=merge", f"--patch={wrong}")
    found = await finds(cluster, "ca-bundle", "apiservice-unavailable")
    assert found["ca-bundle"].about == f"APIService {API_SERVICE}"
    assert "x509" in found["apiservice-unavailable"].message

    await fix(cluster, found["server-rights"])
    await fix(cluster, found["ca-bundle"])
    await cluster.serves(API_SERVICES)
    await is_well(cluster)

    await cluster.kubectl("delete", "apiservice", API_SERVICE)
    found = await finds(cluster, "apiservice-missing")
    await fix(cluster, found["apiservice-missing"])
    await is_well(cluster)
