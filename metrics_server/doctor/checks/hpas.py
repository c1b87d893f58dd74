"""Whether HPAs can work as written, according to the checks behind the server's warnings."""

from collections.abc import Mapping, Sequence
from typing import get_args

from metrics_server.advising.checks import check
from metrics_server.advising.findings import Finding, Reason, Setup
from metrics_server.common.text import counted
from metrics_server.doctor.model import Check, Problem, Verdict, objects
from metrics_server.doctor.reader import Reader, ReadHpa
from metrics_server.kube.pods import Pod
from metrics_server.wiring.advising import setup_of

# Checking an HPA against its pods takes a millisecond at most.
_MOST = 1000


async def _run(reader: Reader) -> Verdict:
    config, rules = await reader.config(), await reader.rules()
    setup = setup_of(config, rules)
    hpas = [one for one in await reader.hpas() if one.checked.metrics][:_MOST]
    ours = [one for one in hpas if is_ours(one, setup)]
    pods = {
        namespace: await reader.pods(namespace)
        for namespace in {one.checked.namespace for one in ours}
    }
    return judge(ours, pods, setup)


def is_ours(hpa: ReadHpa, setup: Setup) -> bool:
    """Whether an HPA uses a metric that is ours, or meant to be."""
    return any(setup.names.may_be_meant(one.name) for one in hpa.checked.metrics)


def judge(hpas: Sequence[ReadHpa], pods: Mapping[str, tuple[Pod, ...]], setup: Setup) -> Verdict:
    """Judge HPAs.

    Args:
        hpas: those that use our metrics.
        pods: the pods of their namespaces.
        setup: the configuration of the server.
    """
    problems = [
        _problem(hpa, finding)
        for hpa in hpas
        for finding in check(hpa.checked, pods[hpa.checked.namespace], setup)
    ]
    return Verdict(f"{counted(len(hpas), 'HPA')} with metrics of this server", tuple(problems))


def _problem(hpa: ReadHpa, finding: Finding) -> Problem:
    name, namespace = hpa.checked.name, hpa.checked.namespace
    return Problem(
        finding.reason,
        hpa.whole.named,
        finding.message,
        f"kubectl -n {namespace} edit hpa {name}",
        "docs/troubleshooting.md#warnings-on-an-hpa",
        objects("hpa", [f"{namespace}/{name}"]),
    )


CHECK = Check(
    name="hpa-warnings",
    about="Can the HPAs that use metrics of this server work as written?",
    finds=get_args(Reason),
    run=_run,
)
