"""Whether the server runs."""

from collections.abc import Sequence

from metrics_server.common.text import listed
from metrics_server.doctor.installation import SELECTOR, Installation
from metrics_server.doctor.model import Check, Problem, Verdict, objects
from metrics_server.doctor.objects import RunningPod
from metrics_server.doctor.reader import Reader


async def _run(reader: Reader) -> Verdict:
    return judge(await reader.installation(), await reader.server_pods())


def judge(installation: Installation, pods: Sequence[RunningPod]) -> Verdict:
    """Judge the server's Deployment and pods."""
    where = f"namespace {installation.namespace}"
    if installation.deployment is None and not pods:
        return Verdict(
            f"no server in {where}",
            (
                Problem(
                    "server-missing",
                    where,
                    "no Deployment with the label app.kubernetes.io/name=gpu-metrics-server is "
                    "there: the server is not installed, or in another namespace "
                    "(--server-namespace)",
                    "kubectl apply -k deployments   # or with Helm: docs/install.md",
                    "docs/install.md",
                ),
            ),
        )
    unready = [one for one in pods if not one.ready]
    ready = len(pods) - len(unready)
    wanted = installation.deployment.spec.replicas if installation.deployment else len(pods)
    if ready and ready >= wanted:
        return Verdict(f"{ready} of {wanted} replicas are Ready")
    states = listed([f"{one.metadata.name} is {one.state}" for one in unready], "; ")
    effect = "HPAs get no values" if not ready else "an outage of the others would stop scaling"
    first = unready[0].metadata.name if unready else ""
    more = f"\nkubectl -n {installation.namespace} logs {first} --previous" if first else ""
    problem = Problem(
        "server-not-ready",
        f"Deployment {installation.namespace}/{installation.name}",
        f"{ready} of {wanted} replicas are Ready, so {effect}: {states or 'no pod exists'}",
        f"kubectl -n {installation.namespace} describe pods -l {SELECTOR}{more}",
        "docs/troubleshooting.md#the-server-is-not-ready",
        objects("pod", [one.metadata.name for one in unready]) if ready else (),
        alone=not unready or not all(one.has_run for one in unready),
    )
    return Verdict(f"{ready} of {wanted} replicas are Ready", (problem,))


CHECK = Check(
    name="server",
    about="Is the server installed, and are its replicas Ready?",
    finds=("server-missing", "server-not-ready"),
    run=_run,
)
