"""Whether kube-apiserver can verify the server's certificate."""

from collections.abc import Sequence

from cryptography import x509

from metrics_server.doctor.checks.api_services import served
from metrics_server.doctor.model import Check, Problem, Verdict, objects, skipped
from metrics_server.doctor.objects import ApiService, ConfigMap, ServiceReference
from metrics_server.doctor.reader import Reader

_KEY = "ca.crt"
_SEE = "docs/troubleshooting.md#x509-errors"


async def _run(reader: Reader) -> Verdict:
    config = await reader.config()
    ours = ServiceReference(config.certificates.namespace, config.certificates.service)
    found = [(name, await reader.api_service(name)) for name in served(config)]
    published = b""
    name = config.certificates.config_map
    if (await reader.installation()).manages_certificates:
        path = f"/api/v1/namespaces/{ours.namespace}/configmaps/{name}"
        config_map = await reader.api.find(path, ConfigMap)
        published = ((config_map and config_map.data) or {}).get(_KEY, "").encode()
    return judge(found, ours, published)


def judge(
    found: Sequence[tuple[str, ApiService | None]], ours: ServiceReference, published: bytes
) -> Verdict:
    """Judge the CA bundles of our APIServices.

    Args:
        found: each APIService by its name.
        ours: the server's Service.
        published: the server's authority, as it publishes it in its ConfigMap; empty if it is not
            known.
    """
    examined = [(name, one) for name, one in found if one is not None and one.spec.service == ours]
    if not examined:
        return skipped("no APIService leads to this server")
    problems = [
        problem
        for name, one in examined
        if (problem := _problem(name, one, ours, published)) is not None
    ]
    known = "of the server's authority" if published else "present"
    bad = f"{len(problems)} of {len(examined)} CA bundles cannot verify the server"
    return Verdict(bad if problems else f"the CA bundles are {known}", tuple(problems))


def _problem(
    name: str, found: ApiService, ours: ServiceReference, published: bytes
) -> Problem | None:
    about, concerned = f"APIService {name}", objects("apiservice", [name])
    restart = f"kubectl -n {ours.namespace} rollout restart deployment/{ours.name}"
    if found.spec.insecure:
        return Problem(
            "ca-bundle",
            about,
            "insecureSkipTLSVerify is set: kube-apiserver accepts any server at that address",
            f"kubectl patch apiservice {name} --type=merge "
            f'-p \'{{"spec":{{"insecureSkipTLSVerify":null}}}}\' && {restart}',
            _SEE,
            concerned,
        )
    if not found.spec.ca_bundle:
        return Problem(
            "ca-bundle",
            about,
            "its caBundle is empty: kube-apiserver verifies the server by the system's CAs, and "
            "fails. The server writes it with --self-managed-certs",
            f"{restart}\n"
            f"kubectl -n {ours.namespace} logs deployment/{ours.name} | grep 'CA bundle'",
            _SEE,
            concerned,
        )
    try:
        theirs = certificates(found.spec.ca_bundle)
    except ValueError as error:
        why = f"its caBundle cannot be read: {error}"
        return Problem("ca-bundle", about, why, restart, _SEE, concerned)
    if published and theirs.isdisjoint(certificates(published)):
        return Problem(
            "ca-bundle",
            about,
            "its caBundle is not of the authority that signs the server's certificate: "
            "kube-apiserver rejects the server, and HPAs get no values. Another writer may "
            "replace it, such as KEDA's operator or cert-manager",
            f"{restart}\nkubectl -n default events --for apiservice/{name}   # names the writer",
            "docs/troubleshooting.md#another-writer-replaces-the-ca-bundle",
            concerned,
        )
    return None


def certificates(bundle: bytes) -> set[bytes]:
    """Return the fingerprint-like bytes of each certificate in a bundle.

    Raises:
        ValueError: it is not a bundle.
    """
    return {one.tbs_certificate_bytes for one in x509.load_pem_x509_certificates(bundle)}


CHECK = Check(
    name="ca-bundle",
    about="Does the caBundle of each APIService match the authority of the server's certificate?",
    finds=("ca-bundle",),
    run=_run,
)
