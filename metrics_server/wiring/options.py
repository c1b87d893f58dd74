"""The flags of `serve`, as a value."""

from pathlib import Path

from msgspec import Struct

from metrics_server.telemetry.logs import LogFormat, LogLevel


class ServeOptions(Struct, frozen=True):
    """The flags of `serve`.

    Attributes:
        kubeconfig: how to reach the Kubernetes API; None finds it like kubectl, or in a pod.
        bind_address: the address to listen on.
        secure_port: the port to listen on; 0 takes any free one.
        tls_cert_file: the serving certificate (chain), PEM.
        tls_private_key_file: its private key, PEM.
        cert_dir: a directory with both, as tls.crt and tls.key.
        self_managed_certs: create and renew the serving certificate; without any of these, the
            server creates one for this run.
        client_ca_file: the CA certificates for users' client certificates, PEM, instead of the
            cluster's.
        requestheader_client_ca_file: the CA certificates for front proxies, PEM, instead of the
            cluster's.
        requestheader_allowed_names: common names of front proxies; only with the file above.
        requestheader_uid_headers: headers in which a front proxy sends a user's UID, instead of
            the cluster's.
        always_allow_paths: paths that anyone may request.
        shutdown_delay: seconds between failing readiness and refusing connections.
        log_level: the lowest level that is logged.
        log_format: text or JSON, one line for each event.
        exporters: URLs of exporters, instead of discovery.
    """

    kubeconfig: Path | None = None
    bind_address: str = "127.0.0.1"
    secure_port: int = 6443
    tls_cert_file: Path | None = None
    tls_private_key_file: Path | None = None
    cert_dir: Path | None = None
    self_managed_certs: bool = False
    client_ca_file: Path | None = None
    requestheader_client_ca_file: Path | None = None
    requestheader_allowed_names: tuple[str, ...] = ()
    requestheader_uid_headers: tuple[str, ...] = ()
    always_allow_paths: tuple[str, ...] = ("/healthz", "/livez", "/readyz")
    shutdown_delay: float = 0
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    exporters: tuple[str, ...] = ()
