"""Checks of a certificate and its key, and the facts in them."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePrivateKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec import Struct

from metrics_server.tls.authority import KeyPair

SigningKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
"""The keys that kube-apiserver, and Go's TLS in general, accept from a server."""

_CURVES = (SECP256R1, SECP384R1, SECP521R1)
# The share of its lifetime in which a certificate that was not renewed is reported as a problem.
_SOON = 0.1


class Validity(Struct, frozen=True):
    """The validity period of a certificate."""

    begin: datetime
    end: datetime

    @property
    def renewal(self) -> datetime:
        """When to renew it: after two thirds of its lifetime."""
        return self.begin + (self.end - self.begin) * 2 / 3

    def problem(self, now: datetime) -> str | None:
        """Return what is wrong with it at a time, as a sentence; None if nothing is.

        The last tenth of its lifetime counts as a problem, as it should have been renewed earlier.
        """
        if now < self.begin:
            return f"the serving certificate is not valid before {utc_text(self.begin)}"
        if now >= self.end:
            return f"the serving certificate expired at {utc_text(self.end)}"
        if self.end - now < (self.end - self.begin) * _SOON:
            return f"the serving certificate expires at {utc_text(self.end)} and was not renewed"
        return None


def validity(certificate: bytes) -> Validity:
    """Return the validity period of a PEM certificate; of the first one in a chain.

    Raises:
        ValueError: it is not a certificate.
    """
    parsed = x509.load_pem_x509_certificate(certificate)
    return Validity(parsed.not_valid_before_utc, parsed.not_valid_after_utc)


def check_pair(pair: KeyPair, now: datetime) -> None:
    """Check that a pair can be used for serving.

    Raises:
        ValueError: as for `check_match`; or the certificate is not valid now.
    """
    check_match(pair)
    found = validity(pair.certificate)
    if now < found.begin:
        raise ValueError(f"the certificate is not valid before {utc_text(found.begin)}")
    if now >= found.end:
        raise ValueError(f"the certificate expired at {utc_text(found.end)}")


def check_match(pair: KeyPair) -> None:
    """Check that a certificate and a key match.

    Raises:
        ValueError: the certificate or the key cannot be parsed, or they do not match. The message
            is the rest of a sentence.
    """
    try:
        first, *_ = x509.load_pem_x509_certificates(pair.certificate)
    except ValueError as error:
        raise ValueError(f"the certificate is not PEM: {error}") from error
    if first.public_key() != signing_key(pair).public_key():
        raise ValueError("the key does not match the certificate")


def signing_key(pair: KeyPair) -> SigningKey:
    """Load the key of a pair.

    Raises:
        ValueError: it cannot be parsed, is encrypted, or is of a kind that clients do not accept.
            The message is the rest of a sentence.
    """
    try:
        key = serialization.load_pem_private_key(pair.key, None)
    except TypeError as error:
        raise ValueError(
            "the key is encrypted: the server needs a key without a passphrase"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"the key is not PEM: {error}") from error
    match key:
        case EllipticCurvePrivateKey() if not isinstance(key.curve, _CURVES):
            kind = f"ECDSA with the curve {key.curve.name}"
        case RSAPrivateKey() | EllipticCurvePrivateKey() | Ed25519PrivateKey():
            return key
        case _:
            kind = type(key).__name__
    raise ValueError(
        f"the key is of a kind that clients do not accept, {kind}: use RSA, ECDSA with P-256, "
        "P-384 or P-521, or Ed25519"
    )


def dns_names(certificate: bytes) -> frozenset[str]:
    """Return the DNS names that a PEM certificate is valid for.

    Raises:
        ValueError: it is not a certificate.
    """
    extensions = x509.load_pem_x509_certificate(certificate).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(names.get_values_for_type(x509.DNSName))


def is_signed_by(certificate: bytes, authority: bytes) -> bool:
    """Whether a PEM certificate is signed with another's key.

    Raises:
        ValueError: one of them is not a certificate.
    """
    issuer = x509.load_pem_x509_certificate(authority)
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):  # another key, kind of key, or name
        return False
    return True


def utc_text(moment: datetime) -> str:
    """Format a time for people, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
