"""The TLS context that the server listens with."""

import os
import ssl
import tempfile
from pathlib import Path

from metrics_server.errors import ConfigurationError
from metrics_server.serving.authority import KeyPair


def context_from_files(certificate: Path, key: Path) -> ssl.SSLContext:
    """A serving context for a certificate (chain) and its key, PEM files.

    Raises:
        ConfigurationError: a file cannot be read, does not parse, or the two do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # A callback, so that an encrypted key is an error and never a prompt.
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"--tls-cert-file {certificate} and --tls-private-key-file {key} cannot be used: "
            f"{error}"
        ) from error
    return context


def context_from_pair(pair: KeyPair) -> ssl.SSLContext:
    """A serving context for a pair in memory."""
    # OpenSSL's interface in Python loads from files only: these are gone when it returns.
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate.write_bytes(pair.certificate)
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pair.key)
        return context_from_files(certificate, key)


def _no_passphrase() -> str:
    raise ConfigurationError(
        "--tls-private-key-file is encrypted: the server has nobody to ask for the passphrase"
    )
