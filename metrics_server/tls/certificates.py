"""Serving pairs from files, and `ssl` contexts for clients and for simulated servers."""

import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from metrics_server.errors import ConfigurationError
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.pairs import check_pair


def read_pair(certificate: Path, key: Path) -> KeyPair:
    """Read a pair from two PEM files; it blocks.

    Raises:
        ConfigurationError: a file cannot be read or parsed, the two do not match, or the
            certificate is not valid now.
    """
    try:
        pair = KeyPair(certificate.read_bytes(), key.read_bytes())
        # One file may be replaced while the other is being read.
        while (again := KeyPair(certificate.read_bytes(), key.read_bytes())) != pair:
            pair = again
        check_pair(pair, datetime.now(UTC))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--tls-cert-file {certificate} and --tls-private-key-file {key} cannot be used: "
            f"{error}"
        ) from error
    return pair


def context_from_pair(pair: KeyPair) -> ssl.SSLContext:
    """Return a server context for a pair in memory, for servers without client certificates.

    The metrics server itself uses `tls.context`.

    Raises:
        ConfigurationError: the pair is unusable.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        with _as_file(pair.certificate) as certificate, _as_file(pair.key) as key:
            # A function, so that an encrypted key is an error rather than a prompt.
            context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the serving pair cannot be used: {error}") from error
    return context


def client_context(bundle: bytes, pair: KeyPair | None = None) -> ssl.SSLContext:
    """Return a client's context.

    Args:
        bundle: the CAs to verify servers with, PEM.
        pair: the client's own certificate and key, if any.
    """
    context = ssl.create_default_context(cadata=bundle.decode())
    if pair is not None:
        with _as_file(pair.certificate) as certificate, _as_file(pair.key) as key:
            context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Return the path of a temporary file, as Python's `ssl` can load certificates only from files.

    On Linux the file is in memory, so that no key is written to a disk, and the container needs no
    writable file system.
    """
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("pem"), "wb", buffering=0) as file:
            file.write(content)
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


def _no_passphrase() -> str:
    raise ConfigurationError(
        "the key of the serving pair is encrypted: the server needs a key without a passphrase"
    )
