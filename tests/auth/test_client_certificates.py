from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct

from metrics_server.auth.client_certificates import ClientCAs, VerifiedCertificate

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
        """The certificate, as a connection has it."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


@cache
def rsa_key(_: int) -> rsa.RSAPrivateKey:
    """One of some keys: they take long to make."""
    return rsa.generate_private_key(65537, 2048)


def ec_key(_: int) -> ec.EllipticCurvePrivateKey:
    """A new key."""
    return ec.generate_private_key(ec.SECP256R1())


def name(common_name: str, *organizations: str) -> x509.Name:
    """A subject as Go writes it."""
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
    """A certificate, signed by an issuer or by its own key."""
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
    """A key's identifier, as its own certificate has it."""
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def aki(key: Key) -> x509.AuthorityKeyIdentifier:
    """A key's identifier, as the certificates that it signed have it."""
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
GO_CA = usage("digital_signature", "key_encipherment", "key_cert_sign")
GO_LEAF = usage("digital_signature", "key_encipherment")


def kubeadm_ca(key: Key) -> Extensions:
    """What kubeadm gives an authority: its name is a DNS name, too."""
    names = x509.SubjectAlternativeName([x509.DNSName("front-proxy-ca")])
    return [(GO_CA, True), (basic(ca=True), True), (ski(key), False), (names, False)]


def kubeadm_client(_: Key, issuer: Key) -> Extensions:
    """What kubeadm gives front-proxy-client and kubernetes-admin."""
    return [(GO_LEAF, True), (CLIENT, False), (basic(ca=False), True), (aki(issuer), False)]


def openssl_ca(key: Key) -> Extensions:
    """What `openssl req -x509` gives: no key usage."""
    return [(ski(key), False), (aki(key), False), (basic(ca=True), True)]


def openssl_client(key: Key, issuer: Key) -> Extensions:
    """What the usr_cert section of openssl.cnf gives."""
    return [
        (basic(ca=False), False),
        (usage("digital_signature", "content_commitment", "key_encipherment"), True),
        (CLIENT, False),
        (ski(key), False),
        (aki(issuer), False),
    ]


def easyrsa_ca(key: Key) -> Extensions:
    """What easyrsa gives: nothing is critical, and the key identifier names the issuer, too."""
    issuer = x509.AuthorityKeyIdentifier(
        ski(key).digest, [x509.DirectoryName(name("front-proxy-ca"))], 1
    )
    signs = usage("crl_sign", "key_cert_sign")
    return [(ski(key), False), (issuer, False), (basic(ca=True), False), (signs, False)]


def cert_manager_ca(key: Key) -> Extensions:
    """What cert-manager gives a Certificate with isCA."""
    return [(GO_CA, True), (basic(ca=True), True), (ski(key), False)]


def cert_manager_client(_: Key, issuer: Key) -> Extensions:
    """What cert-manager gives a Certificate for clients, with a DNS name."""
    names = x509.SubjectAlternativeName([x509.DNSName("client.example")])
    return [
        (GO_LEAF, True),
        (CLIENT, False),
        (basic(ca=False), True),
        (aki(issuer), False),
        (names, False),
    ]


def bare_ca(_: Key) -> Extensions:
    """The least that makes an authority."""
    return [(basic(ca=True), True)]


def bare_client(_: Key, __: Key) -> Extensions:
    """The least that makes a client."""
    return [(CLIENT, False)]


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


@pytest.mark.parametrize("make_key", [rsa_key, ec_key])
@pytest.mark.parametrize(
    ("ca", "leaf"),
    [
        (kubeadm_ca, kubeadm_client),
        (openssl_ca, openssl_client),
        (easyrsa_ca, openssl_client),
        (cert_manager_ca, cert_manager_client),
        (bare_ca, bare_client),
    ],
)
def test_what_is_in_use_verifies(
    make_key: Callable[[int], Key],
    ca: Callable[[Key], Extensions],
    leaf: Callable[[Key, Key], Extensions],
) -> None:
    """Certificates as the usual tools make them are good, with RSA keys and with ECDSA keys."""
    ca_key, key = make_key(0), make_key(1)
    issuer = certify(name("front-proxy-ca"), ca_key, ca(ca_key))
    made = certify(name("kubernetes-admin", "kubeadm:admins"), key, leaf(key, ca_key), issuer)

    assert ClientCAs(issuer.pem).verify([made.der], NOW) == VerifiedCertificate(
        "kubernetes-admin", ("kubeadm:admins",), NOW + DAY
    )


def test_the_subject_is_read_as_go_reads_it() -> None:
    """Every organization is returned, in order, and the last of several common names."""
    issuer = authority()
    attributes = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "b"),
        x509.NameAttribute(NameOID.COMMON_NAME, "first"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "a,c"),
        x509.NameAttribute(NameOID.COMMON_NAME, "last"),
    ]

    verified = ClientCAs(issuer.pem).verify([client(issuer, x509.Name(attributes)).der], NOW)
    nameless = ClientCAs(issuer.pem).verify([client(issuer, name("", "o")).der], NOW)

    assert verified == VerifiedCertificate("last", ("b", "a,c"), NOW + DAY)
    assert nameless == VerifiedCertificate("", ("o",), NOW + DAY)


def test_validity_has_two_ends() -> None:
    """A certificate is good from its first moment to its last, and at no other time."""
    issuer = authority()
    cas, der = ClientCAs(issuer.pem), client(issuer).der
    second = timedelta(seconds=1)

    assert cas.verify([der], NOW - DAY) is not None
    assert cas.verify([der], NOW + DAY) is not None
    assert cas.verify([der], NOW - DAY - second) is None
    assert cas.verify([der], NOW + DAY + second) is None


def test_validity_ends_with_the_authority() -> None:
    """A certificate that would outlive its authority expires with it."""
    issuer = authority(validity=(NOW - DAY, NOW + timedelta(hours=1)))
    cas, der = ClientCAs(issuer.pem), client(issuer).der

    verified = cas.verify([der], NOW)

    assert verified is not None
    assert verified.expires == NOW + timedelta(hours=1)
    assert cas.verify([der], NOW + timedelta(hours=2)) is None


def test_the_time_has_a_zone() -> None:
    """A time of another zone is the moment that it is, not what its clock shows."""
    issuer = authority()
    der = client(issuer, validity=(NOW, NOW + timedelta(hours=1))).der

    elsewhere = timezone(timedelta(hours=-9))

    assert ClientCAs(issuer.pem).verify([der], NOW.astimezone(elsewhere)) is not None
    assert ClientCAs(issuer.pem).verify([der], NOW.replace(tzinfo=elsewhere)) is None


def test_a_bundle_of_several() -> None:
    """Any CA of a bundle is trusted, even next to an expired one or one of the same name."""
    old, expired = authority(), authority(validity=(NOW - 2 * DAY, NOW - DAY))
    new, other = authority(), authority("other")
    cas = ClientCAs(b"# comments may be there\n".join(c.pem for c in (expired, old, other, new)))

    assert all(cas.verify([client(issuer).der], NOW) for issuer in (old, new, other))
    assert cas.verify([client(expired).der], NOW) is None


def test_a_renewed_authority_vouches_for_what_the_old_one_signed() -> None:
    """An authority that is renewed with its key takes over, whichever comes first in the bundle."""
    expired = authority(validity=(NOW - 2 * DAY, NOW - timedelta(hours=1)))
    renewed, made = authority(key=expired.key), client(expired)

    assert ClientCAs(expired.pem + renewed.pem).verify([made.der], NOW) is not None
    assert ClientCAs(renewed.pem + expired.pem).verify([made.der], NOW) is not None


def test_an_intermediate_in_the_bundle_vouches() -> None:
    """What stands in the bundle is trusted, be it signed by itself or by another, as in Go."""
    root, key = authority("root"), ec_key(0)
    intermediate = certify(name("intermediate"), key, kubeadm_ca(key), root)

    assert ClientCAs(intermediate.pem).verify([client(intermediate).der], NOW) is not None
    assert ClientCAs(root.pem).verify([client(intermediate).der], NOW) is None


def _under(extensions: Extensions) -> Callable[[], tuple[Certified, Certified]]:
    """A client with these extensions, and its authority."""

    def make() -> tuple[Certified, Certified]:
        issuer = authority()
        return issuer, certify(
            name("a"), ec_key(0), [*extensions, (aki(issuer.key), False)], issuer
        )

    return make


def _by(extensions: Callable[[Key], Extensions]) -> Callable[[], tuple[Certified, Certified]]:
    """A client of an authority with these extensions, and that authority."""

    def make() -> tuple[Certified, Certified]:
        key = ec_key(0)
        issuer = certify(name("front-proxy-ca"), key, extensions(key))
        return issuer, client(issuer)

    return make


def _of_another() -> tuple[Certified, Certified]:
    return authority(), client(authority("other"))


def _of_a_namesake() -> tuple[Certified, Certified]:
    return authority(), client(authority())


def _of_itself() -> tuple[Certified, Certified]:
    key = ec_key(0)
    return authority(), certify(name("front-proxy-client"), key, kubeadm_client(key, key))


def _of_a_client() -> tuple[Certified, Certified]:
    issuer = authority()
    between = client(issuer)
    return certify(name("a"), ec_key(0), kubeadm_client(ec_key(0), between.key), between), issuer


def _an_authority() -> tuple[Certified, Certified]:
    issuer = authority()
    return issuer, issuer


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(_under([(SERVER, False)]), id="for servers only"),
        pytest.param(_under([(CLIENT, False), (basic(ca=True), True)]), id="for an authority"),
        pytest.param(
            _under([(CLIENT, False), (x509.UnrecognizedExtension(NameOID.SURNAME, b"\5\0"), True)]),
            id="with a critical extension that nobody knows",
        ),
        pytest.param(_by(lambda _: [(basic(ca=False), True)]), id="by what is no authority"),
        pytest.param(_by(lambda _: []), id="by what does not say that it is one"),
        pytest.param(
            _by(lambda _: [(basic(ca=True), True), (usage("digital_signature"), True)]),
            id="by an authority that may not sign certificates",
        ),
        pytest.param(_of_another, id="by another authority"),
        pytest.param(_of_a_namesake, id="by another authority of the same name"),
        pytest.param(_of_itself, id="by itself"),
        pytest.param(_of_a_client, id="by a client"),
        pytest.param(_an_authority, id="an authority itself"),
    ],
)
def test_what_is_refused(make: Callable[[], tuple[Certified, Certified]]) -> None:
    """Nobody is a client by a certificate that is for something else, or from somebody else."""
    issuer, made = make()

    assert ClientCAs(issuer.pem).verify([made.der], NOW) is None


def test_without_an_extended_key_usage_any_use_is_allowed() -> None:
    """As in Go: a certificate that does not say what it is for is for anything."""
    issuer = authority()
    made = certify(name("a"), ec_key(0), [(aki(issuer.key), False)], issuer)

    assert ClientCAs(issuer.pem).verify([made.der], NOW) is not None


ISSUER = authority()
CAS = ClientCAs(ISSUER.pem)
DER = client(ISSUER).der


# A negative serial number causes a warning.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
@example(len(DER) - len(x509.load_der_x509_certificate(DER).signature) - 1, 1)
def test_no_altered_certificate_gives_another_identity(place: int, change: int) -> None:
    """It is refused, and nothing is raised; or the change is to what nobody reads.

    Such as the count of unused bits that begins the signature: the signature itself is the same.
    """
    altered = bytearray(DER)
    altered[place] ^= change

    verified = CAS.verify([bytes(altered)], NOW)

    assert verified is None or (verified == CAS.verify([DER], NOW) and is_unread(place))


def is_unread(place: int) -> bool:
    """Whether a byte of the certificate is the first of a signature: its count of unused bits."""
    signature = x509.load_der_x509_certificate(DER).signature
    return place == len(DER) - len(signature) - 1


@given(st.binary())
def test_a_malformed_certificate_is_rejected(der: bytes) -> None:
    """Any bytes are answered."""
    assert CAS.verify([der], NOW) is None


@pytest.mark.parametrize(
    "pem", [b"", b"nonsense", ISSUER.pem[:-40], ISSUER.pem.replace(b"M", b"N")]
)
def test_a_bundle_that_cannot_be_read(pem: bytes) -> None:
    """A bundle without a certificate, or with a broken one, is an error at once."""
    with pytest.raises(ValueError, match=r"."):
        ClientCAs(pem)
