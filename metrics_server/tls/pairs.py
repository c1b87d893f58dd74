"""What a certificate and its key say of themselves."""

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
"""What kube-apiserver, and Go's TLS in general, accepts of a server."""

_CURVES = (SECP256R1, SECP384R1, SECP521R1)
# Up to here a certificate is in order; from here on somebody should look at why it was not renewed.
_SOON = 0.1


class Validity(Struct, frozen=True):
    """From when to when a certificate is valid."""

    begin: datetime
    end: datetime

    @property
    def renewal(self) -> datetime:
        """Two thirds of its life: when it is time for another."""
        return self.begin + (self.end - self.begin) * 2 / 3

    def complaint(self, now: datetime) -> str | None:
        """What is wrong with it at a time, as a sentence; None while all is well.

        The last tenth of its life counts as wrong, as it should have been renewed long before.
        """
        if now < self.begin:
            return f"the serving certificate is not valid before {told(self.begin)}"
        if now >= self.end:
            return f"the serving certificate expired at {told(self.end)}"
        if self.end - now < (self.end - self.begin) * _SOON:
            return f"the serving certificate expires at {told(self.end)} and was not renewed"
        return None


def validity(certificate: bytes) -> Validity:
    """That of a PEM certificate; of the first, where there is a chain.

    Raises:
        ValueError: it is none.
    """
    parsed = x509.load_pem_x509_certificate(certificate)
    return Validity(parsed.not_valid_before_utc, parsed.not_valid_after_utc)


def check_pair(pair: KeyPair, now: datetime) -> None:
    """Make sure that a pair can be served with.

    Raises:
        ValueError: as for `check_match`; or the certificate is not valid now.
    """
    check_match(pair)
    found = validity(pair.certificate)
    if now < found.begin:
        raise ValueError(f"the certificate is not valid before {told(found.begin)}")
    if now >= found.end:
        raise ValueError(f"the certificate expired at {told(found.end)}")


def check_match(pair: KeyPair) -> None:
    """Make sure that a pair is one.

    Raises:
        ValueError: the certificate or the key does not parse, or they do not belong together. The
            message is the rest of a sentence.
    """
    try:
        first, *_ = x509.load_pem_x509_certificates(pair.certificate)
    except ValueError as error:
        raise ValueError(f"the certificate is not PEM: {error}") from error
    if first.public_key() != signing_key(pair).public_key():
        raise ValueError("the key is not that of the certificate")


def signing_key(pair: KeyPair) -> SigningKey:
    """The key of a pair.

    Raises:
        ValueError: it does not parse, is encrypted, or is of a kind that clients do not accept. The
            message is the rest of a sentence.
    """
    try:
        key = serialization.load_pem_private_key(pair.key, None)
    except TypeError as error:
        raise ValueError(
            "the key is encrypted, and the server has nobody to ask for the passphrase"
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
    """The DNS names that a PEM certificate is valid for.

    Raises:
        ValueError: it is none.
    """
    extensions = x509.load_pem_x509_certificate(certificate).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(names.get_values_for_type(x509.DNSName))


def is_signed_by(certificate: bytes, authority: bytes) -> bool:
    """Whether a PEM certificate bears the signature of another's key.

    Raises:
        ValueError: one of them is none.
    """
    issuer = x509.load_pem_x509_certificate(authority)
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):  # of another key, kind of key, or name
        return False
    return True


def told(moment: datetime) -> str:
    """A time in UTC, as it is written for a person."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
