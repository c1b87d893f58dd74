"""The part of the server about trust: its certificates, and who may call it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog
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
from metrics_server.auth.trust_files import TrustFiles
from metrics_server.config.sections import Config
from metrics_server.errors import ConfigurationError
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.events import Events
from metrics_server.kube.reflector import Reflector
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.api_service import CUSTOM_METRICS, EXTERNAL_METRICS
from metrics_server.tls.authority import Authority
from metrics_server.tls.context import ListeningContext
from metrics_server.tls.files import CertificateFiles
from metrics_server.tls.self_managed import SelfManaged
from metrics_server.wiring.options import ServeOptions

Run = Callable[[], Coroutine[object, object, None]]

log = structlog.stdlib.get_logger(__name__)


class Certificates(Struct, frozen=True):
    """The serving certificate, and how it is kept up to date.

    Attributes:
        tls: the listener's context.
        run: keeps it up to date; None if nothing has to.
        check: what is wrong with it; None while it is valid.
        bundle_error: why clients may not be able to verify it; None if nothing is known. None
            instead of a function if the server does not publish its CA bundle.
        bundle: the authority of a certificate made for this run only, PEM.
    """

    tls: ListeningContext
    run: Run | None
    check: Callable[[], str | None]
    bundle_error: Callable[[], str | None] | None = None
    bundle: bytes | None = None


async def certificates(
    options: ServeOptions, config: Config, client: KubernetesClient, monitor: Monitor
) -> Certificates:
    """The serving certificate that the flags select.

    Raises:
        ConfigurationError: the flags contradict each other, or a file cannot be used.
    """
    files = _certificate_files(options)
    if files and options.self_managed_certs:
        raise ConfigurationError(
            "--self-managed-certs and certificate files are mutually exclusive"
        )
    # A placeholder until the first real pair; never used to serve if one is expected.
    authority = Authority("gpu-metrics-server")
    local = dict.fromkeys(["localhost", "127.0.0.1", "::1", options.bind_address])
    tls = await asyncio.to_thread(ListeningContext, authority.issue(list(local)))
    if files:
        followed = CertificateFiles(*files, use=tls.use_pair, monitor=monitor)
        await followed.load()
        return Certificates(tls, followed.run, lambda: tls.problem(datetime.now(UTC)))
    if options.self_managed_certs:
        managed = SelfManaged(
            client,
            service=config.certificates.service,
            namespace=config.certificates.namespace,
            secret=config.certificates.secret,
            config_map=config.certificates.config_map,
            api_services=_api_services(config),
            events=Events(client),
            use=tls.use_pair,
            monitor=monitor,
        )
        return Certificates(tls, managed.run, managed.check, lambda: managed.bundle_error)
    log.warning(
        "serving with a temporary certificate that no client trusts; "
        "use --self-managed-certs or --cert-dir"
    )
    return Certificates(tls, None, lambda: None, bundle=authority.bundle)


def _api_services(config: Config) -> tuple[str, ...]:
    """The APIServices of the APIs that are served."""
    served = {EXTERNAL_METRICS: config.external_metrics, CUSTOM_METRICS: config.custom_metrics}
    return tuple(name for name, is_served in served.items() if is_served)


class Trust(Struct, frozen=True):
    """Who may call the server, and what keeps that up to date.

    Attributes:
        guard: checks every request.
        watch: follows whom the cluster trusts; None if the flags say it all.
        run: follows the files that flags name; None without any.
    """

    guard: Guard
    watch: Reflector[ConfigMap] | None
    run: Run | None


_CLIENT_CA = "--client-ca-file"
_REQUEST_HEADER_CA = "--requestheader-client-ca-file"


async def trust(
    options: ServeOptions, client: KubernetesClient, tls: ListeningContext, monitor: Monitor
) -> Trust:
    """Whom to trust, according to the flags and the cluster; changes of either apply.

    Raises:
        ConfigurationError: the cluster does not publish it, or a file cannot be used.
        KubernetesError: the API cannot be reached.
    """
    named = {
        _CLIENT_CA: options.client_ca_file,
        _REQUEST_HEADER_CA: options.requestheader_client_ca_file,
    }
    files = TrustFiles({flag: path for flag, path in named.items() if path is not None})
    if options.requestheader_allowed_names and options.requestheader_client_ca_file is None:
        raise ConfigurationError(f"--requestheader-allowed-names requires {_REQUEST_HEADER_CA}")
    await files.load()
    authenticator = Authenticator(TokenReviews(client), monitor.authenticated)
    guard = Guard(
        authenticator, Authorizer(client, always_allow_paths=options.always_allow_paths), monitor
    )
    tls.use_verifier(authenticator.verifies)
    is_told_all = len(files.content) == len(named)
    cluster = DelegatedAuthentication() if is_told_all else await read_delegation(client)
    store = DelegationStore(cluster)

    def take_over() -> None:
        try:
            guard.trust(_in_force(store.value, files.content, options))
        except ValueError:
            log.exception("cluster CAs unavailable, keeping the last known")

    await asyncio.to_thread(guard.trust, _in_force(cluster, files.content, options))
    store.subscribe(lambda _: take_over())
    return Trust(
        guard,
        None
        if is_told_all
        else Reflector(client, COLLECTION, decode_config_map, store, query=QUERY),
        (lambda: files.follow(take_over)) if files.content else None,
    )


def _in_force(
    cluster: DelegatedAuthentication, files: Mapping[str, bytes], options: ServeOptions
) -> DelegatedAuthentication:
    """Whom to trust: as the flags say, and otherwise as the cluster does."""
    request_header = cluster.request_header
    if _REQUEST_HEADER_CA in files:
        request_header = RequestHeaderConfig(
            username_headers=("X-Remote-User",),
            group_headers=("X-Remote-Group",),
            extra_headers_prefixes=("X-Remote-Extra-",),
            allowed_names=options.requestheader_allowed_names,
        )
    if request_header is not None and options.requestheader_uid_headers:
        request_header = structs.replace(
            request_header, uid_headers=options.requestheader_uid_headers
        )
    return DelegatedAuthentication(
        client_ca=files.get(_CLIENT_CA, cluster.client_ca),
        request_header_ca=files.get(_REQUEST_HEADER_CA, cluster.request_header_ca),
        request_header=request_header,
    )


def _certificate_files(options: ServeOptions) -> tuple[Path, Path] | None:
    certificate, key = options.tls_cert_file, options.tls_private_key_file
    if options.cert_dir is not None:
        if certificate or key:
            raise ConfigurationError(
                "--cert-dir replaces --tls-cert-file and --tls-private-key-file: use one or "
                "the other"
            )
        return options.cert_dir / "tls.crt", options.cert_dir / "tls.key"
    if certificate and key:
        return certificate, key
    if certificate or key:
        raise ConfigurationError("--tls-cert-file and --tls-private-key-file must be set together")
    return None
