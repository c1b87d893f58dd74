"""Whether the HPA gets its metrics: one that fails blocks scale-down even if others work."""

from metrics_server.common.text import listed, printable
from metrics_server.doctor.hpa import Hpa
from metrics_server.doctor.model import Check, Problem, Verdict, objects, skipped
from metrics_server.doctor.reader import Reader


async def _run(reader: Reader) -> Verdict:
    hpa = await reader.hpa()
    return skipped("there is no such HPA") if hpa is None else judge(hpa.whole)


def judge(hpa: Hpa) -> Verdict:
    """Judge an HPA's status: which of its metrics it could read."""
    metrics = hpa.spec.metrics or []
    status = hpa.status
    active = None if status is None else status.condition("ScalingActive")
    if active is None:
        return skipped("the HPA controller has not looked at it yet")
    failing = [one for one in metrics if not hpa.is_read(one)]
    name, namespace = hpa.metadata.name, hpa.metadata.namespace
    command = f"gpu-metrics-server doctor -n {namespace} --hpa {name}"
    if active.status == "False" and active.reason == "ScalingDisabled":
        return skipped("its target has 0 replicas, which turns the HPA off")
    if active.status == "False":
        problem = Problem(
            "hpa-inactive",
            hpa.named,
            "it gets none of its metrics, and keeps its replicas: "
            f"{printable(f'{active.reason}: {active.message}', 700)}",
            f"kubectl -n {namespace} describe hpa {name}\n# the checks selection, measurement and "
            "answer say which step fails",
            "docs/hpa.md#reading-kubectl-describe-hpa",
            objects("metric", [one.named for one in metrics]),
        )
        return Verdict("no metric works", (problem,))
    if failing and len(failing) < len(metrics):
        names = listed([printable(one.named, 80) for one in failing])
        problem = Problem(
            "metric-blocks-scale-down",
            hpa.named,
            f"its {names} cannot be read. While one of several metrics fails, the HPA scales up "
            "on the others, but never down",
            f"kubectl -n {namespace} describe hpa {name}   # says why\n{command}",
            "docs/hpa.md#several-metrics",
            objects("metric", [one.named for one in failing]),
        )
        return Verdict(f"{len(failing)} of {len(metrics)} metrics cannot be read", (problem,))
    return Verdict(
        f"it gets {'its metric' if len(metrics) == 1 else f'all {len(metrics)} metrics'}"
    )


CHECK = Check(
    name="hpa-metrics",
    about="Does the HPA get its metrics, or does one that fails block scale-down?",
    finds=("hpa-inactive", "metric-blocks-scale-down"),
    run=_run,
    scope="hpa",
)
