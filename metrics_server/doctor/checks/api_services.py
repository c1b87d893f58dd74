"""Whether kube-apiserver forwards the metrics APIs to this server."""

from collections.abc import Sequence

from metrics_server.common.text import printable
from metrics_server.config.sections import Config
from metrics_server.doctor.installer import Installer
from metrics_server.doctor.model import Check, Problem, Verdict, objects
from metrics_server.doctor.objects import ApiService, ServiceReference
from metrics_server.doctor.reader import Reader
from metrics_server.tls.api_service import CUSTOM_METRICS, EXTERNAL_METRICS

OLDER_CUSTOM_METRICS = "v1beta1.custom.metrics.k8s.io"

_FILES = {
    EXTERNAL_METRICS: "deployments/apiservice.yaml",
    CUSTOM_METRICS: "deployments/custom-metrics.yaml",
}
# In the chart's values, and in the server's configuration.
_NAMES = {
    EXTERNAL_METRICS: ("external", "externalMetrics"),
    CUSTOM_METRICS: ("custom", "customMetrics"),
}
_OWNERS = "docs/troubleshooting.md#who-owns-the-apiservice"
_UNAVAILABLE = "docs/troubleshooting.md#faileddiscoverycheck-or-available-is-false"


def served(config: Config) -> Sequence[str]:
    """Return the names of the APIServices of the APIs that are served."""
    names = {EXTERNAL_METRICS: config.external_metrics, CUSTOM_METRICS: config.custom_metrics}
    return [name for name, is_served in names.items() if is_served]


async def _run(reader: Reader) -> Verdict:
    config = await reader.config()
    names = served(config)
    found = [(name, await reader.api_service(name)) for name in names]
    ours = ServiceReference(config.certificates.namespace, config.certificates.service)
    other = None
    if CUSTOM_METRICS in names:
        other = await reader.api_service(OLDER_CUSTOM_METRICS)
    return judge(found, ours, other, await reader.installer())


def judge(
    found: Sequence[tuple[str, ApiService | None]],
    ours: ServiceReference,
    older: ApiService | None = None,
    installer: Installer | None = None,
) -> Verdict:
    """Judge the APIServices.

    Args:
        found: each by its name; None if it does not exist.
        ours: the server's Service.
        older: the one for the other version of the custom metrics API.
        installer: how the server was installed; None if from files.
    """
    by = installer or Installer()
    problems = [one for name, service in found for one in _problems(name, service, ours, by)]
    notes: list[str] = []
    if older is not None and older.spec.service != ours:
        notes.append(
            f"{OLDER_CUSTOM_METRICS} is served by {older.spec.service or 'kube-apiserver'}: the "
            "HPA controller uses one of the two versions"
        )
    names = ", ".join(name for name, _ in found)
    bad = f"{len({one.about for one in problems})} of {len(found)} do not lead to this server"
    return Verdict(bad if problems else f"{names}: ours, and Available", tuple(problems), (*notes,))


def _problems(
    name: str, found: ApiService | None, ours: ServiceReference, installer: Installer
) -> Sequence[Problem]:
    about, concerned = f"APIService {name}", objects("apiservice", [name])
    api, setting = _NAMES[name]
    apply = installer.apply(_FILES[name], f"apis.{api}=true")
    turn_off = installer.turn_off(api, setting)
    if found is None:
        return [
            Problem(
                "apiservice-missing",
                about,
                "it does not exist, so HPAs get no metrics of this API",
                f"{apply}\n# or, if this API should not be served: {turn_off}",
                "docs/troubleshooting.md#the-apiservice",
                concerned,
            )
        ]
    if found.spec.service != ours:
        owner = found.spec.service or "kube-apiserver itself"
        return [
            Problem(
                "apiservice-owner",
                about,
                f"it leads to {owner}, not to {ours}: another server answers HPAs",
                f"kubectl delete apiservice {name} && {apply}\n"
                f"# or leave the API to {owner} (docs/keda.md): {turn_off}",
                _OWNERS,
                concerned,
            )
        ]
    condition = found.available
    if condition is None or condition.status != "True":
        why = "kube-apiserver has not checked it yet"
        if condition is not None:
            why = printable(f"{condition.reason}: {condition.message}", 300)
        return [
            Problem(
                "apiservice-unavailable",
                about,
                f"it is not Available, so HPAs get no metrics of this API: {why}",
                _fix_of(condition.reason if condition else "", why, ours, installer),
                _UNAVAILABLE,
                concerned,
            )
        ]
    return []


def _fix_of(reason: str, why: str, ours: ServiceReference, installer: Installer) -> str:
    if reason in ("ServiceNotFound", "ServicePortError"):
        return installer.apply("deployments/metrics-server.yaml")
    if reason in ("EndpointsNotFound", "MissingEndpoints"):
        return (
            f"kubectl -n {ours.namespace} get pods -l app.kubernetes.io/name=gpu-metrics-server"
            "\n# no replica is Ready: see the check server"
        )
    if "x509" in why:
        return (
            f"kubectl -n {ours.namespace} rollout restart deployment/{ours.name}"
            "\n# it publishes its CA bundle when it starts: see the check ca-bundle"
        )
    return (
        f"kubectl -n {ours.namespace} get pods,endpointslices -o wide"
        "\n# let the control plane reach TCP 6443 of these pods: firewalls, NetworkPolicies"
    )


CHECK = Check(
    name="apiservice",
    about="Do the APIServices exist, lead to this server, and are they Available?",
    finds=("apiservice-missing", "apiservice-owner", "apiservice-unavailable"),
    run=_run,
)
