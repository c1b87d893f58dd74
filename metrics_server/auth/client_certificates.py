"""Verification of client certificates under a bundle of authorities: pure, the time is given.

The rules are those of the Web PKI, softened to what Kubernetes has always issued and Go accepts:
client certificates carry no alternative name, and what was made by hand lacks a key usage or a key
identifier, or has basic constraints that are not critical. What stays: version 3, RSA or ECDSA,
signatures, validity, path lengths, that an authority is one, and that the extended key usage, where
there is one, allows client authentication.
"""

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID, ObjectIdentifier
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from msgspec import Struct

# What cryptography raises at a certificate that it refuses, or cannot read.
_REFUSED = (
    VerificationError,
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
)


class VerifiedCertificate(Struct, frozen=True):
    """What a client certificate that was verified tells.

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
        self._policy = (
            PolicyBuilder()
            .store(Store(x509.load_pem_x509_certificates(pem)))
            .extension_policies(ca_policy=_authorities(), ee_policy=_clients())
        )

    def verify(self, der: bytes, now: datetime) -> VerifiedCertificate | None:
        """What a peer's own certificate tells.

        Args:
            der: the certificate.
            now: when it must be valid; with a time zone.

        Returns:
            None where it cannot be read, or none of the authorities vouches for it.
        """
        try:
            leaf = x509.load_der_x509_certificate(der)
            verified = self._policy.time(now).build_client_verifier().verify(leaf, [])
            subject = leaf.subject
        except _REFUSED:
            return None
        return VerifiedCertificate(
            # Go takes the last where there are several.
            common_name=(_values(subject, NameOID.COMMON_NAME) or ("",))[-1],
            organizations=_values(subject, NameOID.ORGANIZATION_NAME),
            expires=min(one.not_valid_after_utc for one in verified.chain),
        )


def _authorities() -> ExtensionPolicy:
    return (
        ExtensionPolicy.webpki_defaults_ca()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _require_cert_sign)
    )


def _clients() -> ExtensionPolicy:
    return (
        ExtensionPolicy.webpki_defaults_ee()
        .may_be_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
        .may_be_present(x509.AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
    )


def _require_cert_sign(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the authority's key usage does not allow to sign certificates")


def _values(subject: x509.Name, oid: ObjectIdentifier) -> tuple[str, ...]:
    found = (attribute.value for attribute in subject.get_attributes_for_oid(oid))
    return tuple(value for value in found if isinstance(value, str))
