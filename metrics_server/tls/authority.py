"""Our own certificate authority, and the pairs that it signs."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

# Clients' clocks may be a little behind ours.
BACKDATED = timedelta(hours=1)

_YEAR = timedelta(days=365)


class KeyPair(Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "KeyPair(…)"  # a key never reaches a log


class Authority:
    """A certificate authority.

    Args:
        name: its common name.
        lifetime: how long it is valid.
        now: when it is created; the current time by default.
    """

    def __init__(
        self, name: str, lifetime: timedelta = _YEAR, *, now: datetime | None = None
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key()
        subject = _common_name(name)
        made = now or datetime.now(UTC)
        self._certificate = (
            _builder(subject, subject, public, made, made + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(_key_of_issuer(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @classmethod
    def load(cls, pair: KeyPair) -> Self:
        """Load an authority from a pair that `pair` returned.

        Raises:
            ValueError: it is not the certificate and key of one of our authorities.
        """
        try:
            key = serialization.load_pem_private_key(pair.key, None)
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError(f"the key of the authority cannot be used: {error}") from error
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or (
            certificate.public_key() != key.public_key()
        ):
            raise ValueError("the key of the authority does not match its certificate")
        loaded = cls.__new__(cls)
        loaded._key, loaded._certificate = key, certificate  # noqa: SLF001 - of this class
        return loaded

    @property
    def bundle(self) -> bytes:
        """The authority's own certificate, PEM, for clients to trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pair(self) -> KeyPair:
        """The authority's certificate and key, to be stored where nobody else can read."""
        return KeyPair(self.bundle, _pem(self._key))

    def issue(
        self,
        names: Sequence[str],
        lifetime: timedelta | None = None,
        *,
        now: datetime | None = None,
    ) -> KeyPair:
        """Issue a serving pair.

        Args:
            names: DNS names and IP addresses that it is valid for; the first is its common name.
            lifetime: how long it is valid; at most, and by default, as long as the authority.
            now: when it is issued; the current time by default.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        made = now or datetime.now(UTC)
        end = self._certificate.not_valid_after_utc
        if lifetime is not None:
            end = min(end, made + lifetime)
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = self._leaf(_common_name(names[0]), key, made, end).add_extension(
            alternatives, critical=False
        )
        return self._signed(builder, key, ExtendedKeyUsageOID.SERVER_AUTH)

    def issue_client(self, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """Issue a client's pair, with its identity in the form that Kubernetes reads.

        Args:
            user: its common name.
            groups: its organizations.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
                x509.NameAttribute(NameOID.COMMON_NAME, user),
            ]
        )
        builder = self._leaf(subject, key, datetime.now(UTC), self._certificate.not_valid_after_utc)
        return self._signed(builder, key, ExtendedKeyUsageOID.CLIENT_AUTH)

    def _leaf(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, made: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        return (
            _builder(subject, self._certificate.subject, key.public_key(), made, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(_key_of_issuer(self._key.public_key()), critical=False)
        )

    def _signed(
        self,
        builder: x509.CertificateBuilder,
        key: ec.EllipticCurvePrivateKey,
        usage: x509.ObjectIdentifier,
    ) -> KeyPair:
        certificate = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False).sign(
            self._key, hashes.SHA256()
        )
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    made: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(made - BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_of_issuer(key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _common_name(name: str) -> x509.Name:
    # X.520 limits a common name to 64 characters; clients read the alternative names.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
