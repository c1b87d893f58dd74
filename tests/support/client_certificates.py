"""Certificates as common tools make them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Extensions = Sequence[tuple[x509.ExtensionType, bool]]

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Certified(Struct, frozen=True):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        """The certificate, as in a bundle."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        """The certificate, as a connection provides it."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


def ec_key(_: int) -> ec.EllipticCurvePrivateKey:
    """A new key."""
    return ec.generate_private_key(ec.SECP256R1())


def name(common_name: str, *organizations: str) -> x509.Name:
    """A subject as Go encodes it."""
    told = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations]
    if common_name:
        told.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(told)


def certify(
    subject: x509.Name,
    key: Key,
    extensions: Extensions,
    issuer: Certified | None = None,
    validity: tuple[datetime, datetime] = (NOW - DAY, NOW + DAY),
) -> Certified:
    """A certificate, signed by an issuer or with its own key."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    signer = issuer.key if issuer else key
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Certified(builder.sign(signer, digest), key)


def usage(*allowed: str) -> x509.KeyUsage:
    """A key usage; the names are those of the arguments of x509.KeyUsage."""
    known = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{one: one in allowed for one in known})


def basic(*, ca: bool, path_length: int | None = None) -> x509.BasicConstraints:
    """Basic constraints."""
    return x509.BasicConstraints(ca=ca, path_length=path_length)


def ski(key: Key) -> x509.SubjectKeyIdentifier:
    """A key's identifier, as in its own certificate."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def aki(key: Key) -> x509.AuthorityKeyIdentifier:
    """A key's identifier, as in the certificates that it signed."""
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])

GO_CA = usage("digital_signature", "key_encipherment", "key_cert_sign")
GO_LEAF = usage("digital_signature", "key_encipherment")


def kubeadm_ca(key: Key) -> Extensions:
    """The extensions of a kubeadm authority: its name is also a DNS name."""
    names = x509.SubjectAlternativeName([x509.DNSName("front-proxy-ca")])
    return [(GO_CA, True), (basic(ca=True), True), (ski(key), False), (names, False)]


def kubeadm_client(_: Key, issuer: Key) -> Extensions:
    """The extensions of kubeadm's front-proxy-client and kubernetes-admin."""
    return [(GO_LEAF, True), (CLIENT, False), (basic(ca=False), True), (aki(issuer), False)]


def authority(
    common_name: str = "front-proxy-ca",
    key: Key | None = None,
    validity: tuple[datetime, datetime] = (NOW - DAY, NOW + 2 * DAY),
) -> Certified:
    """An authority as kubeadm makes it."""
    key = key or ec_key(0)
    return certify(name(common_name), key, kubeadm_ca(key), validity=validity)


def client(
    issuer: Certified,
    subject: x509.Name | None = None,
    validity: tuple[datetime, datetime] = (NOW - DAY, NOW + DAY),
) -> Certified:
    """A client as kubeadm makes it."""
    key = ec_key(0)
    extensions = kubeadm_client(key, issuer.key)
    return certify(subject or name("front-proxy-client"), key, extensions, issuer, validity)
