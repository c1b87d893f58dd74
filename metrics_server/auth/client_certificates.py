"""Verification of client certificates under a bundle of authorities: pure, the time is given.

OpenSSL builds the chain and checks signatures, validity, path lengths, name constraints and
critical extensions. The rules of Go's crypto/x509 that it does not check by itself are checked
here: what an authority is, what its key may do, and what each certificate may be used for. Where
several authorities have the same subject each is tried, as in Go; OpenSSL alone would take one.
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

# What is raised at a certificate that is refused, or cannot be read.
_REFUSED = (
    crypto.X509StoreContextError,
    crypto.Error,
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
)
# Of the certificates that a peer sends beside its own. Real chains have one or two; each more costs
# a signature.
_MAX_INTERMEDIATES = 8
_MIN_RSA_BITS = 2048
_CURVES = (SECP256R1, SECP384R1, SECP521R1)
_CLIENT_USES = frozenset(
    {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)


class VerifiedCertificate(Struct, frozen=True):
    """What a client certificate that was verified says.

    Attributes:
        common_name: CN of its subject, the user; "" where it has none.
        organizations: each O of its subject, the groups, in order.
        expires: when it, or the first of the authorities that vouch for it, ceases to be valid.
    """

    common_name: str
    organizations: tuple[str, ...]
    expires: datetime


class ClientCAs:
    """Authorities that vouch for clients.

    Args:
        pem: their certificates, in any order; one that is expired vouches for nobody and does
            not harm the others.

    Raises:
        ValueError: it holds no certificate, or one that cannot be read.
    """

    def __init__(self, pem: bytes) -> None:
        self._authorities = [
            (one.subject, crypto.X509.from_cryptography(one))
            for one in dict.fromkeys(x509.load_pem_x509_certificates(pem))
        ]

    def verify(self, chain: Sequence[bytes], now: datetime) -> VerifiedCertificate | None:
        """What a peer's own certificate says.

        Args:
            chain: the certificates that the peer sent, its own first; what comes after it is
                trusted only as far as an authority vouches for it.
            now: when they must be valid; with a time zone.

        Returns:
            None where it cannot be read, or none of the authorities vouches for it.
        """
        try:
            sent = [x509.load_der_x509_certificate(der) for der in chain[: _MAX_INTERMEDIATES + 1]]
            issuers = {one.issuer for one in sent}
            opaque = [crypto.X509.from_cryptography(one) for one in sent]
        except _REFUSED:
            return None
        for subject, authority in self._authorities:
            if subject in issuers and (verified := _verified(opaque, authority, now)) is not None:
                return verified
        return None


def _verified(
    sent: Sequence[crypto.X509], authority: crypto.X509, now: datetime
) -> VerifiedCertificate | None:
    """What a certificate says, if this one authority vouches for it."""
    store = crypto.X509Store()
    store.add_cert(authority)
    # As in Go: what is listed is trusted by itself, be it a root or not.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(now.astimezone(UTC))
    leaf, *intermediates = sent
    try:
        found = crypto.X509StoreContext(store, leaf, intermediates).get_verified_chain()
        chain = [one.to_cryptography() for one in found]
        if not _is_allowed(chain):
            return None
        subject = chain[0].subject
    except _REFUSED:
        return None
    return VerifiedCertificate(
        # Go takes the last where there are several.
        common_name=(_values(subject, NameOID.COMMON_NAME) or ("",))[-1],
        organizations=_values(subject, NameOID.ORGANIZATION_NAME),
        expires=min(one.not_valid_after_utc for one in chain),
    )


def _is_allowed(chain: Sequence[x509.Certificate]) -> bool:
    """Whether a chain keeps the rules that OpenSSL leaves to us, from the client to the authority.

    Raises:
        ValueError: an extension cannot be read.
    """
    leaf, *issuers = chain
    return (
        bool(issuers)
        and not _says_it_is_an_authority(leaf)
        and all(map(_may_sign, issuers))
        # A version 1 certificate cannot say what it is, so only one that is listed is an authority.
        and all(one.version is x509.Version.v3 for one in issuers[:-1])
        and all(map(_is_for_clients, chain))
        and all(map(_has_a_strong_key, chain))
        and not any(isinstance(one.signature_hash_algorithm, MD5 | SHA1) for one in chain[:-1])
    )


def _may_sign(issuer: x509.Certificate) -> bool:
    usage = _extension(issuer, x509.KeyUsage)
    is_authority = issuer.version is x509.Version.v1 or _says_it_is_an_authority(issuer)
    return is_authority and (usage is None or usage.key_cert_sign)


def _says_it_is_an_authority(certificate: x509.Certificate) -> bool:
    basic = _extension(certificate, x509.BasicConstraints)
    return basic is not None and basic.ca


def _is_for_clients(certificate: x509.Certificate) -> bool:
    """Whether it may be used for clients, or by them: one that does not say is for anything."""
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
