"""Whether the HPA controller may read the metrics."""

from collections.abc import Sequence

from metrics_server.config.sections import Config
from metrics_server.doctor.api import Access
from metrics_server.doctor.checks.server_rights import groups_of
from metrics_server.doctor.model import Check, Problem, Verdict
from metrics_server.doctor.reader import Reader

_ACCOUNT = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
_METRIC = "gpu_utilization"


async def _run(reader: Reader) -> Verdict:
    config = await reader.config()
    groups = groups_of("kube-system")
    missing = [
        access for access in needed(config) if not await reader.api.may(access, _ACCOUNT, groups)
    ]
    return judge(missing)


def needed(config: Config) -> Sequence[Access]:
    """Return what the HPA controller needs (pure)."""
    found: list[Access] = []
    if config.external_metrics:
        found.append(Access("list", _METRIC, "external.metrics.k8s.io", namespace="default"))
    if config.custom_metrics:
        group = "custom.metrics.k8s.io"
        found.append(
            Access("get", "pods", group, subresource=_METRIC, namespace="default", name="*")
        )
    return found


def judge(missing: Sequence[Access]) -> Verdict:
    """Judge what the HPA controller may not do."""
    if not missing:
        return Verdict("the HPA controller may read the metrics")
    verbs = {"external.metrics.k8s.io": "list", "custom.metrics.k8s.io": "get"}
    commands = [
        f"kubectl create clusterrole gpu-metrics-{one.group.partition('.')[0]} "
        f"--verb={verbs[one.group]} --resource='*.{one.group}'\n"
        f"kubectl create clusterrolebinding gpu-metrics-{one.group.partition('.')[0]} "
        f"--clusterrole=gpu-metrics-{one.group.partition('.')[0]} "
        "--serviceaccount=kube-system:horizontal-pod-autoscaler"
        for one in missing
    ]
    problem = Problem(
        "forbidden",
        f"user {_ACCOUNT}",
        f"the HPA controller may not read metrics of {', '.join(one.group for one in missing)}, "
        "which the cluster's own role system:controller:horizontal-pod-autoscaler allows by "
        "default",
        "\n".join(commands),
        "docs/troubleshooting.md#forbidden",
    )
    return Verdict("the HPA controller may not read the metrics", (problem,))


CHECK = Check(
    name="forbidden",
    about="May the HPA controller read the metrics?",
    finds=("forbidden",),
    run=_run,
)
