"""Whether the server's configuration can be used."""

from metrics_server.doctor.installation import Installation
from metrics_server.doctor.model import Check, Problem, Verdict, skipped
from metrics_server.doctor.reader import Reader


async def _run(reader: Reader) -> Verdict:
    return judge(await reader.installation())


def judge(installation: Installation) -> Verdict:
    """Judge the configuration."""
    if installation.deployment is None and installation.config_from != "--config":
        return skipped("the server is not installed")
    if not installation.config_error:
        return Verdict(f"the configuration is valid, from {installation.config_from}")
    installer, namespace = installation.installer, installation.namespace
    fix = (
        f"kubectl -n {namespace} edit configmap {installation.config_from.rpartition('/')[2]}\n"
        f"kubectl -n {namespace} rollout restart deployment/{installation.name}"
    )
    if installer.release:
        fix = (
            f"helm get values {installer.named} >values.yaml\n"
            f"# correct config in values.yaml, then\n{installer.upgrade} --values values.yaml"
        )
    problem = Problem(
        "configuration",
        installation.config_from,
        f"the server does not start with it: {installation.config_error}",
        fix,
        "docs/troubleshooting.md#the-server-does-not-start",
    )
    return Verdict("the configuration is not valid", (problem,))


CHECK = Check(
    name="configuration",
    about="Is the server's configuration valid?",
    finds=("configuration",),
    run=_run,
)
