"""Whether the HPA exists, and can scale its target."""

from shlex import quote

from metrics_server.common.text import printable
from metrics_server.doctor.hpa import Hpa
from metrics_server.doctor.model import Check, Problem, Verdict
from metrics_server.doctor.reader import Reader

_SEE = "docs/hpa.md#reading-kubectl-describe-hpa"


async def _run(reader: Reader) -> Verdict:
    hpa = await reader.hpa()
    subject = reader.subject
    return judge(hpa.whole if hpa else None, subject.namespace, subject.hpa)


def judge(hpa: Hpa | None, namespace: str, name: str) -> Verdict:
    """Judge an HPA's existence and its condition AbleToScale."""
    if hpa is None:
        problem = Problem(
            "no-hpa",
            f"HPA {namespace}/{printable(name, 80)}",
            "it does not exist",
            f"kubectl get hpa -n {namespace}",
            "docs/hpa.md",
        )
        return Verdict("there is no such HPA", (problem,))
    target = hpa.spec.scale_target_ref
    status = hpa.status
    able = status and status.condition("AbleToScale")
    replicas = status.current_replicas if status else 0
    summary = f"{hpa.named} scales {target.kind} {target.name}, now at {replicas} replicas"
    if not able or able.status != "False":
        return Verdict(summary)
    kind = printable(target.kind.lower(), 80)
    problem = Problem(
        "hpa-target",
        hpa.named,
        f"it cannot scale {target.kind} {target.name}: "
        f"{printable(f'{able.reason}: {able.message}', 300)}",
        f"kubectl -n {namespace} get {quote(kind)} {quote(printable(target.name, 80))}\n"
        f"kubectl -n {namespace} edit hpa {quote(printable(name, 80))}   # correct scaleTargetRef",
        _SEE,
    )
    return Verdict(summary, (problem,))


CHECK = Check(
    name="hpa-target",
    about="Does the HPA exist, and can it scale its target?",
    finds=("no-hpa", "hpa-target"),
    run=_run,
    scope="hpa",
)
