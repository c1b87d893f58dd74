"""Verification of client certificates against a bundle of CAs: pure, with the time as a parameter.

OpenSSL builds the chain and checks signatures, validity, path lengths, name constraints and
critical extensions. The rules of Go's crypto/x509 that it does not check by default are checked
here: what counts as a CA, key usage, and extended key usage. Where several CAs have the same
subject, each is tried, as in Go; OpenSSL alone would try only one.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from msgspec import Struct
from OpenSSL import crypto

Extension = TypeVar("Extension", bound=x509.ExtensionType)

# Raised for a certificate that fails verification, or cannot be parsed.
_REJECTED = (
    crypto.X509StoreContextError,
    crypto.Error,
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
)
# How many of the certificates that a peer sends beyond its own are used. Real chains have one or
# two; each additional one costs a signature check.
_MAX_INTERMEDIATES = 8
_MIN_RSA_BITS = 2048
_CURVES = (SECP256R1, SECP384R1, SECP521R1)
_CLIENT_USES = frozenset(
    {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)


class VerifiedCertificate(Struct, frozen=True):
    """The contents of a verified client certificate.

    Attributes:
        common_name: the CN of its subject, which is the user; "" without one.
        organizations: each O of its subject, in order: the groups.
        expires: when the first certificate of its chain expires.
    """

    common_name: str
    organizations: tuple[str, ...]
    expires: datetime


class ClientCAs:
    """CAs that sign client certificates.

    Args:
        pem: their certificates, in any order; an expired one verifies nothing and does not affect
            the others.

    Raises:
        ValueError: there is no certificate in it, or one that cannot be parsed.
    """

    def __init__(self, pem: bytes) -> None:
        self._authorities = [
            (one.subject, crypto.X509.from_cryptography(one))
            for one in dict.fromkeys(x509.load_pem_x509_certificates(pem))
        ]

    def verify(self, chain: Sequence[bytes], now: datetime) -> VerifiedCertificate | None:
        """Verify a peer's certificate, and return its contents.

        Args:
            chain: the certificates that the peer sent, its own first; the rest are untrusted
                intermediates.
            now: when they must be valid; with a time zone.

        Returns:
            None if it cannot be parsed, or does not verify under any of the CAs.
        """
        try:
            sent = [x509.load_der_x509_certificate(der) for der in chain[: _MAX_INTERMEDIATES + 1]]
            issuers = {one.issuer for one in sent}
            opaque = [crypto.X509.from_cryptography(one) for one in sent]
        except _REJECTED:
            return None
        for subject, authority in self._authorities:
            if subject in issuers and (verified := _verified(opaque, authority, now)) is not None:
                return verified
        return None


def _verified(
    sent: Sequence[crypto.X509], authority: crypto.X509, now: datetime
) -> VerifiedCertificate | None:
    """Return the contents of a certificate if it verifies under this one CA."""
    store = crypto.X509Store()
    store.add_cert(authority)
    # As in Go: every listed certificate is a trust anchor, whether or not it is a root.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(now.astimezone(UTC))
    leaf, *intermediates = sent
    try:
        found = crypto.X509StoreContext(store, leaf, intermediates).get_verified_chain()
        chain = [one.to_cryptography() for one in found]
        if not _is_allowed(chain):
            return None
        subject = chain[0].subject
    except _REJECTED:
        return None
    return VerifiedCertificate(
        # Go uses the last where there are several.
        common_name=(_values(subject, NameOID.COMMON_NAME) or ("",))[-1],
        organizations=_values(subject, NameOID.ORGANIZATION_NAME),
        expires=min(one.not_valid_after_utc for one in chain),
    )


def _is_allowed(chain: Sequence[x509.Certificate]) -> bool:
    """Whether a chain, from client to CA, follows the rules that OpenSSL does not check.

    Raises:
        ValueError: an extension cannot be parsed.
    """
    leaf, *issuers = chain
    return (
        bool(issuers)
        and not _declares_itself_a_ca(leaf)
        and all(map(_may_sign, issuers))
        # A version 1 certificate cannot declare itself a CA, so it counts only if it is listed.
        and all(one.version is x509.Version.v3 for one in issuers[:-1])
        and all(map(_is_for_clients, chain))
        and all(map(_has_a_strong_key, chain))
        and not any(isinstance(one.signature_hash_algorithm, MD5 | SHA1) for one in chain[:-1])
    )


def _may_sign(issuer: x509.Certificate) -> bool:
    usage = _extension(issuer, x509.KeyUsage)
    is_authority = issuer.version is x509.Version.v1 or _declares_itself_a_ca(issuer)
    return is_authority and (usage is None or usage.key_cert_sign)


def _declares_itself_a_ca(certificate: x509.Certificate) -> bool:
    basic = _extension(certificate, x509.BasicConstraints)
    return basic is not None and basic.ca


def _is_for_clients(certificate: x509.Certificate) -> bool:
    """Whether it may be used for client authentication; without the extension it may."""
    uses = _extension(certificate, x509.ExtendedKeyUsage)
    return uses is None or not _CLIENT_USES.isdisjoint(uses)


def _has_a_strong_key(certificate: x509.Certificate) -> bool:
    match certificate.public_key():
        case RSAPublicKey() as key:
            return key.key_size >= _MIN_RSA_BITS
        case EllipticCurvePublicKey() as key:
            return isinstance(key.curve, _CURVES)
        case key:
            return isinstance(key, Ed25519PublicKey)


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _values(subject: x509.Name, oid: ObjectIdentifier) -> tuple[str, ...]:
    found = (attribute.value for attribute in subject.get_attributes_for_oid(oid))
    return tuple(value for value in found if isinstance(value, str))
