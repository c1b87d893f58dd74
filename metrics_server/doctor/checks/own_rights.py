"""Rights that the user of the command lacks, and the checks that cannot run without them."""

from collections.abc import Sequence

from metrics_server.common.text import counted
from metrics_server.doctor.api import Access
from metrics_server.doctor.model import Check, Verdict
from metrics_server.doctor.reader import Reader


async def _run(reader: Reader) -> Verdict:
    subject = reader.subject
    config = await reader.config()
    spaces = {one.namespace for one in config.exporters.services}
    wanted = needed(subject.server_namespace, subject.namespace, spaces, direct=subject.direct)
    return judge([one for one in wanted if not await reader.api.may(one)])


def needed(server: str, namespace: str, exporters: set[str], *, direct: bool) -> Sequence[Access]:
    """Return what the checks need (pure).

    Args:
        server: the server's namespace.
        namespace: the workload's; "" for all.
        exporters: the namespaces of the exporters' Services.
        direct: whether exporters are read without the API.
    """
    found = [
        Access("list", "pods", namespace=namespace),
        Access("list", "horizontalpodautoscalers", "autoscaling", namespace=namespace),
        Access("list", "nodes"),
        Access("list", "endpointslices", "discovery.k8s.io"),
        Access("get", "apiservices", "apiregistration.k8s.io"),
        Access("list", "deployments", "apps", namespace=server),
        Access("get", "configmaps", namespace=server),
        Access("create", "subjectaccessreviews", "authorization.k8s.io"),
    ]
    if not direct:
        spaces = sorted(exporters & {server} or {server})
        found += [Access("get", "pods", subresource="proxy", namespace=one) for one in spaces]
    return found


def judge(missing: Sequence[Access]) -> Verdict:
    """Judge what may not be done."""
    if not missing:
        return Verdict("you may read everything that the checks need")
    return Verdict(
        f"you lack {counted(len(missing), 'right')}: checks that need more are skipped",
        notes=tuple(f"you may not {one}" for one in missing),
    )


CHECK = Check(
    name="your-rights",
    about="May you read what the other checks need?",
    finds=(),
    run=_run,
)
