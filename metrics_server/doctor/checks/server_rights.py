"""Whether the server's ServiceAccount may do what the server needs."""

from collections.abc import Sequence

from metrics_server.common.text import counted, listed
from metrics_server.config.sections import Config
from metrics_server.doctor.api import Access
from metrics_server.doctor.checks.api_services import served
from metrics_server.doctor.installation import Installation
from metrics_server.doctor.installer import Installer
from metrics_server.doctor.model import Check, Problem, Verdict
from metrics_server.doctor.reader import Reader

_RBAC = "deployments/rbac.yaml"
_CUSTOM = "deployments/custom-metrics.yaml"


async def _run(reader: Reader) -> Verdict:
    installation = await reader.installation()
    account = installation.account
    groups = groups_of(installation.namespace)
    missing = [
        (access, file)
        for access, file in needed(installation)
        if not await reader.api.may(access, account, groups)
    ]
    return judge(account, missing, installation.installer)


def groups_of(namespace: str) -> Sequence[str]:
    """Return the groups of a ServiceAccount."""
    return [
        "system:serviceaccounts",
        f"system:serviceaccounts:{namespace}",
        "system:authenticated",
    ]


def needed(installation: Installation) -> Sequence[tuple[Access, str]]:
    """Return what the server needs, and the manifest that grants it (pure)."""
    config = installation.config
    found = [*_always(config)]
    if config.hpa_warnings:
        hpas = "horizontalpodautoscalers"
        found += [
            (Access("list", hpas, "autoscaling"), _RBAC),
            (Access("watch", hpas, "autoscaling"), _RBAC),
            (Access("create", "events"), _RBAC),
        ]
    if config.custom_metrics:
        found += [
            (Access("get", "deployments", "apps"), _CUSTOM),
            (Access("get", "services"), _CUSTOM),
        ]
    if installation.manages_certificates:
        where = config.certificates
        for name in served(config):
            file = _RBAC if name.startswith("v1beta1.external") else _CUSTOM
            group = "apiregistration.k8s.io"
            found += [
                (Access(verb, "apiservices", group, name=name), file) for verb in ("get", "patch")
            ]
        for resource, name in (("secrets", where.secret), ("configmaps", where.config_map)):
            found += [
                (Access(verb, resource, namespace=where.namespace, name=name), _RBAC)
                for verb in ("get", "update")
            ]
    return found


def _always(config: Config) -> Sequence[tuple[Access, str]]:
    spaces = config.pods.namespaces or ("",)
    slices = "endpointslices", "discovery.k8s.io"
    own = "extension-apiserver-authentication"
    return [
        *((Access(verb, "pods", namespace=one), _RBAC) for one in spaces for verb in _LIST),
        *((Access(verb, *slices), _RBAC) for verb in _LIST if spaces == ("",)),
        (Access("create", "tokenreviews", "authentication.k8s.io"), _RBAC),
        (Access("create", "subjectaccessreviews", "authorization.k8s.io"), _RBAC),
        (Access("get", "configmaps", namespace="kube-system", name=own), _RBAC),
    ]


_LIST = ("list", "watch")


def judge(account: str, missing: Sequence[tuple[Access, str]], installer: Installer) -> Verdict:
    """Judge what the server may not do.

    Args:
        account: the user name of its ServiceAccount.
        missing: what it may not do, and the manifest that grants it.
        installer: how the server was installed.
    """
    if not missing:
        return Verdict("the server has every right that it needs")
    commands = dict.fromkeys(installer.apply(file) for _, file in missing)
    problem = Problem(
        "server-rights",
        f"user {account}",
        f"it may not {listed([str(access) for access, _ in missing], '; ')}",
        "\n".join(commands),
        "docs/security.md",
    )
    return Verdict(f"the server lacks {counted(len(missing), 'right')}", (problem,))


CHECK = Check(
    name="server-rights",
    about="May the server's ServiceAccount do what the server needs?",
    finds=("server-rights",),
    run=_run,
)
