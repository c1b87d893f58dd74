"""When the CA certificates expire that kube-apiserver verifies the server with."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509

from metrics_server.doctor.checks.api_services import served
from metrics_server.doctor.model import Check, Problem, Verdict, objects, skipped
from metrics_server.doctor.objects import ServiceReference
from metrics_server.doctor.reader import Reader

# As of the alert GPUMetricsServerCertificateExpiring.
_LEAST = timedelta(days=7)


async def _run(reader: Reader) -> Verdict:
    config = await reader.config()
    ours = ServiceReference(config.certificates.namespace, config.certificates.service)
    found = [(name, await reader.api_service(name)) for name in served(config)]
    bundles = [
        (name, one.spec.ca_bundle)
        for name, one in found
        if one is not None and one.spec.service == ours and one.spec.ca_bundle
    ]
    return judge(bundles, ours, datetime.now(UTC))


def judge(bundles: Sequence[tuple[str, bytes]], ours: ServiceReference, now: datetime) -> Verdict:
    """Judge the remaining life of the CA bundles.

    Args:
        bundles: of each APIService, PEM.
        ours: the server's Service.
        now: the time.
    """
    if not bundles:
        return skipped("no APIService of this server has a caBundle")
    problems: list[Problem] = []
    ends: list[datetime] = []
    for name, bundle in bundles:
        try:
            end = max(one.not_valid_after_utc for one in x509.load_pem_x509_certificates(bundle))
        except ValueError:
            continue  # the check ca-bundle reports it
        ends.append(end)
        if end - now < _LEAST:
            verb = "expired" if end < now else "expires"
            problems.append(
                Problem(
                    "certificate",
                    f"APIService {name}",
                    f"the CA certificate in its caBundle {verb} at {end:%Y-%m-%d %H:%M} UTC, and "
                    "with it every answer to HPAs",
                    f"kubectl -n {ours.namespace} rollout restart deployment/{ours.name}"
                    "\n# with certificates of your own: gpu-metrics-server certs",
                    "docs/troubleshooting.md#x509-errors",
                    objects("apiservice", [name]),
                )
            )
    if not ends:
        return skipped("no caBundle can be read")
    left = min(ends) - now
    return Verdict(
        f"the CA certificate is valid for {left.days} more days"
        if not problems
        else "a CA certificate expires",
        tuple(problems),
    )


CHECK = Check(
    name="certificate",
    about="When do the CA certificates in the caBundles expire?",
    finds=("certificate",),
    run=_run,
)
