"""The files with TLS settings and credentials, from the configuration."""

from metrics_server.config.access import AuthConfig, TlsConfig
from metrics_server.sources.pages.access import AccessFiles


def access_files(
    tls: TlsConfig, auth: AuthConfig, setting: str, *, allow_http: bool = False
) -> AccessFiles:
    """Return the files of two sections.

    Args:
        tls: how servers are verified.
        auth: the credentials.
        setting: what has the sections in the configuration, for messages.
        allow_http: whether the credentials may be sent over plain HTTP.
    """
    return AccessFiles(
        ca_file=tls.ca_file,
        server_name=tls.server_name,
        cert_file=tls.cert_file,
        key_file=tls.key_file,
        bearer_token_file=auth.bearer_token_file,
        username=auth.username,
        password_file=auth.password_file,
        allow_http=allow_http,
        setting=setting,
    )
