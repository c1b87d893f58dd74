"""The part of the server that is trusted and that trusts: certificates, and who may ask."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509
from msgspec import Struct, structs

from metrics_server.auth.authentication import Authenticator
from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.delegation import (
    COLLECTION,
    QUERY,
    ConfigMap,
    DelegatedAuthentication,
    DelegationStore,
    decode_config_map,
    read_delegation,
)
from metrics_server.auth.guard import Guard
from metrics_server.auth.request_header import RequestHeaderConfig
from metrics_server.auth.tokens import TokenReviews
from metrics_server.config import CertificatesConfig, ServeOptions
from metrics_server.errors import ConfigurationError
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.reflector import Reflector
from metrics_server.monitoring import Monitor
from metrics_server.serving.authority import Authority
from metrics_server.serving.files import CertificateFiles
from metrics_server.serving.listener import ListeningContext
from metrics_server.serving.self_managed import SelfManaged

Run = Callable[[], Coroutine[object, object, None]]

log = structlog.stdlib.get_logger(__name__)


class Certificates(Struct, frozen=True):
    """What is served with.

    Attributes:
        tls: the context of the listening socket.
        run: what keeps it up to date; None where nothing has to.
        check: what is wrong with it; None while all is well.
        bundle: the authority of a certificate that was made for this run only, PEM.
    """

    tls: ListeningContext
    run: Run | None
    check: Callable[[], str | None]
    bundle: bytes | None = None


async def certificates(
    options: ServeOptions, config: CertificatesConfig, client: KubernetesClient, monitor: Monitor
) -> Certificates:
    """The serving certificate, from where the flags say.

    Raises:
        ConfigurationError: the flags contradict each other, or the files cannot be used.
    """
    files = _certificate_files(options)
    if files and options.self_managed_certs:
        raise ConfigurationError(
            "--self-managed-certs and files of certificates exclude each other"
        )
    # What is there until the first real pair is, and is never served with where one is to come.
    authority = Authority("gpu-metrics-server")
    local = dict.fromkeys(["localhost", "127.0.0.1", "::1", options.bind_address])
    tls = await asyncio.to_thread(ListeningContext, authority.issue(list(local)))
    if files:
        followed = CertificateFiles(*files, use=tls.use_pair, monitor=monitor)
        await followed.load()
        return Certificates(tls, followed.run, lambda: tls.complaint(datetime.now(UTC)))
    if options.self_managed_certs:
        managed = SelfManaged(
            client,
            service=config.service,
            namespace=config.namespace,
            secret=config.secret,
            use=tls.use_pair,
            monitor=monitor,
        )
        return Certificates(tls, managed.run, managed.check)
    log.warning(
        "serving with a certificate made for this run, which no client trusts; "
        "give --self-managed-certs, or --cert-dir"
    )
    return Certificates(tls, None, lambda: None, authority.bundle)


class Trust(Struct, frozen=True):
    """Who may ask, and what keeps that in step with the cluster.

    Attributes:
        guard: stands before every answer.
        watch: follows whom the cluster trusts; None where the flags say all of it.
    """

    guard: Guard
    watch: Reflector[ConfigMap] | None


async def trust(
    options: ServeOptions, client: KubernetesClient, tls: ListeningContext, monitor: Monitor
) -> Trust:
    """Whom the cluster trusts, and the flags; taken over by the handshake and by the guard.

    Raises:
        ConfigurationError: the cluster does not tell, or a file cannot be used.
        KubernetesError: the API cannot be reached.
    """
    flags = await asyncio.to_thread(_from_flags, options)
    authenticator = Authenticator(TokenReviews(client), monitor.authenticated)
    authorizer = Authorizer(client, always_allow_paths=options.always_allow_paths)

    def take_over(delegated: DelegatedAuthentication) -> None:
        own = {name: value for name, value in structs.asdict(flags).items() if value is not None}
        trusted = structs.replace(delegated, **own)
        # The handshake first: of a connection it lets in, the guard must know the authority.
        tls.use_client_cas(b"".join(filter(None, (trusted.client_ca, trusted.request_header_ca))))
        authenticator.trust(trusted)

    guard = Guard(authenticator, authorizer, monitor)
    if flags.client_ca and flags.request_header_ca:
        await asyncio.to_thread(take_over, flags)
        return Trust(guard, None)
    store = DelegationStore(await read_delegation(client))
    await asyncio.to_thread(take_over, store.value)

    def follow(delegated: DelegatedAuthentication) -> None:
        try:
            take_over(delegated)
        except (ConfigurationError, ValueError):
            log.exception("kept the trust of the cluster as it was known last")

    store.subscribe(follow)
    return Trust(guard, Reflector(client, COLLECTION, decode_config_map, store, query=QUERY))


def _from_flags(options: ServeOptions) -> DelegatedAuthentication:
    """What the flags say of trust; None in a field leaves it to the cluster."""
    request_header_ca = _read(
        "--requestheader-client-ca-file", options.requestheader_client_ca_file
    )
    if options.requestheader_allowed_names and request_header_ca is None:
        raise ConfigurationError(
            "--requestheader-allowed-names goes with --requestheader-client-ca-file"
        )
    request_header = RequestHeaderConfig(
        username_headers=("X-Remote-User",),
        group_headers=("X-Remote-Group",),
        extra_headers_prefixes=("X-Remote-Extra-",),
        uid_headers=("X-Remote-Uid",),
        allowed_names=options.requestheader_allowed_names,
    )
    return DelegatedAuthentication(
        client_ca=_read("--client-ca-file", options.client_ca_file),
        request_header_ca=request_header_ca,
        request_header=request_header if request_header_ca else None,
    )


def _read(flag: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        pem = path.read_bytes()
        x509.load_pem_x509_certificates(pem)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{flag} {path} cannot be used: {error}") from error
    return pem


def _certificate_files(options: ServeOptions) -> tuple[Path, Path] | None:
    certificate, key = options.tls_cert_file, options.tls_private_key_file
    if options.cert_dir is not None:
        if certificate or key:
            raise ConfigurationError(
                "--cert-dir stands for --tls-cert-file and --tls-private-key-file: give one of them"
            )
        return options.cert_dir / "tls.crt", options.cert_dir / "tls.key"
    if certificate and key:
        return certificate, key
    if certificate or key:
        raise ConfigurationError("--tls-cert-file and --tls-private-key-file go together")
    return None
