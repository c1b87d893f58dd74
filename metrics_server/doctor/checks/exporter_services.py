"""Whether the server finds exporters through the configured Services."""

from collections import defaultdict
from collections.abc import Sequence

from metrics_server.common.text import counted, listed, named
from metrics_server.doctor.exporters import Found
from metrics_server.doctor.installer import Installer
from metrics_server.doctor.model import Check, Problem, Verdict, objects, skipped
from metrics_server.doctor.reader import Reader

_LIST = "kubectl get endpointslices -A | grep -i -e dcgm -e exporter"
_MOST_DESCRIBED = 3
_SEE = "docs/troubleshooting.md#no-exporter"


async def _run(reader: Reader) -> Verdict:
    if why_not := await reader.why_nothing_to_discover():
        return skipped(why_not)
    config = await reader.config()
    services = [f"{one.namespace}/{one.name}" for one in config.exporters.services]
    by_address = config.exporters.match_nodes_by_address
    installer = await reader.installer()
    return judge(services, await reader.found(), installer, by_address=by_address)


def judge(
    services: Sequence[str], found: Found, installer: Installer, *, by_address: bool
) -> Verdict:
    """Judge what the server would find.

    Args:
        services: the configured Services.
        found: the exporters behind them.
        installer: how the server was installed.
        by_address: whether endpoints without a node name are matched by address.
    """
    if not services:
        problem = Problem(
            "exporter-service",
            "exporters.services",
            "it is empty, and neither exporters.urls nor --exporter names an exporter, so the "
            "server does not start",
            f"{_LIST}   # then name the exporters' Service in the server's configuration",
            _SEE,
        )
        return Verdict("no Service of exporters is configured", (problem,))
    if not found.services:
        problem = Problem(
            "exporter-service",
            named("Service", services),
            "no EndpointSlice of a configured Service exists: no exporter is installed, or its "
            "Service has another name (exporters.services)",
            f"{_LIST}\n{installer.apply('deployments/dcgm-exporter.yaml', 'exporters.preset=dcgm')}"
            "   # if there is no exporter",
            _SEE,
        )
        return Verdict("no exporter is found", (problem,))
    problems: list[Problem] = []
    if found.unready:
        names = listed([f"exporter {one}" for one in found.unready])
        problems.append(
            Problem(
                "exporter-not-ready",
                names,
                f"{counted(len(found.unready), 'exporter')} not Ready: the GPUs there are not "
                "measured",
                _describe(list(found.unready)),
                _SEE,
                objects("node", found.unready.values()),
            )
        )
    if found.unplaced and not by_address:
        problems.append(
            Problem(
                "exporter-node-name",
                named("endpoint", found.unplaced),
                "no nodeName is set, so it is not known which node is measured",
                "kubectl -n gpu-monitoring edit endpointslices   # set endpoints[].nodeName\n"
                "# or set exporters.matchNodesByAddress: true in the server's configuration",
                "docs/exporter.md#exporters-on-hosts",
            )
        )
    return Verdict(f"{counted(len(found.exporters), 'exporter')} found", tuple(problems))


def _describe(unready: Sequence[str]) -> str:
    """Return the commands that show why exporters are not Ready."""
    pods: dict[str, list[str]] = defaultdict(list)
    for one in unready:
        kind, _, named = one.partition(" ")
        if kind == "pod":
            namespace, _, name = named.partition("/")
            pods[namespace].append(name)
    if not pods:  # on hosts
        return f"kubectl get endpointslices -A | grep {unready[0]}"
    return "\n".join(
        f"kubectl -n {namespace} describe pods {' '.join(names[:_MOST_DESCRIBED])}"
        for namespace, names in pods.items()
    )


CHECK = Check(
    name="exporters",
    about="Does the server find exporters through the configured Services, and are they Ready?",
    finds=("exporter-service", "exporter-not-ready", "exporter-node-name"),
    run=_run,
)
