"""Serving pairs from files, and the TLS context of a pair."""

import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from metrics_server.errors import ConfigurationError
from metrics_server.serving.authority import KeyPair
from metrics_server.serving.pairs import check_pair

# Forward secrecy and authenticated encryption only; of TLS 1.3 there is nothing else.
_TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def read_pair(certificate: Path, key: Path) -> KeyPair:
    """The pair of two PEM files; it blocks.

    Raises:
        ConfigurationError: a file cannot be read or does not parse, the two do not match, or the
            certificate is not valid now.
    """
    try:
        pair = KeyPair(certificate.read_bytes(), key.read_bytes())
        # A kubelet, or a person, may change the one while the other is being read.
        while (again := KeyPair(certificate.read_bytes(), key.read_bytes())) != pair:
            pair = again
        check_pair(pair, datetime.now(UTC))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--tls-cert-file {certificate} and --tls-private-key-file {key} cannot be used: "
            f"{error}"
        ) from error
    return pair


def context_from_files(certificate: Path, key: Path) -> ssl.SSLContext:
    """A serving context for a certificate (chain) and its key, PEM files; it blocks.

    Raises:
        ConfigurationError: as for `read_pair`.
    """
    return context_from_pair(read_pair(certificate, key))


def context_from_pair(pair: KeyPair, client_cas: bytes = b"") -> ssl.SSLContext:
    """A serving context for a pair in memory.

    Args:
        pair: what is served with.
        client_cas: certificates, PEM, under one of which a client's own must verify, if it shows
            one; where there are none, it is not asked for one.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # No session is taken up again: its peer would not be verified a second time.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    try:
        with _as_file(pair.certificate) as certificate, _as_file(pair.key) as key:
            # A function, so that an encrypted key is an error and never a prompt.
            context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the serving pair cannot be used: {error}") from error
    if client_cas.strip():
        _ask_for_certificates(context, client_cas)
    return context


def client_context(bundle: bytes, pair: KeyPair | None = None) -> ssl.SSLContext:
    """A client's context.

    Args:
        bundle: the authorities that servers are verified by, PEM.
        pair: what the client proves itself by; None where it has nothing to show.
    """
    context = ssl.create_default_context(cadata=bundle.decode())
    if pair is not None:
        with _as_file(pair.certificate) as certificate, _as_file(pair.key) as key:
            context.load_cert_chain(certificate, key)
    return context


def _ask_for_certificates(context: ssl.SSLContext, client_cas: bytes) -> None:
    try:
        # Not as PEM: OpenSSL's reader in Python takes no text but ASCII beside the certificates.
        authorities = [
            one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(client_cas)
        ]
        context.load_verify_locations(cadata=b"".join(authorities))
    except (ValueError, ssl.SSLError) as error:
        raise ConfigurationError(f"the client CAs cannot be used: {error}") from error
    context.verify_mode = ssl.CERT_OPTIONAL
    # As in Go: what is listed is trusted by itself, be it a root or not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A file, for as long as the context: OpenSSL's interface in Python loads from files only.

    On Linux it lies in memory, so that a key reaches no disk, and a container needs no place to
    write to.
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
        "the key of the serving pair is encrypted: the server has nobody to ask for the passphrase"
    )
