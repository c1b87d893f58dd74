"""Client certificates that verify, as Kubernetes' tools make them."""

from collections.abc import Callable
from datetime import timedelta, timezone
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from metrics_server.auth.client_certificates import ClientCAs, VerifiedCertificate
from tests.support.client_certificates import (
    CLIENT,
    DAY,
    GO_CA,
    GO_LEAF,
    NOW,
    Extensions,
    Key,
    aki,
    authority,
    basic,
    certify,
    client,
    ec_key,
    kubeadm_ca,
    kubeadm_client,
    name,
    ski,
    usage,
)


@cache
def rsa_key(_: int) -> rsa.RSAPrivateKey:
    """A key from a small set: they take long to make."""
    return rsa.generate_private_key(65537, 2048)


def openssl_ca(key: Key) -> Extensions:
    """The extensions from `openssl req -x509`: no key usage."""
    return [(ski(key), False), (aki(key), False), (basic(ca=True), True)]


def openssl_client(key: Key, issuer: Key) -> Extensions:
    """The extensions from the usr_cert section of openssl.cnf."""
    return [
        (basic(ca=False), False),
        (usage("digital_signature", "content_commitment", "key_encipherment"), True),
        (CLIENT, False),
        (ski(key), False),
        (aki(issuer), False),
    ]


def easyrsa_ca(key: Key) -> Extensions:
    """The extensions from easyrsa: none critical, and the key identifier also names the issuer."""
    issuer = x509.AuthorityKeyIdentifier(
        ski(key).digest, [x509.DirectoryName(name("front-proxy-ca"))], 1
    )
    signs = usage("crl_sign", "key_cert_sign")
    return [(ski(key), False), (issuer, False), (basic(ca=True), False), (signs, False)]


def cert_manager_ca(key: Key) -> Extensions:
    """The extensions that cert-manager gives a Certificate with isCA."""
    return [(GO_CA, True), (basic(ca=True), True), (ski(key), False)]


def cert_manager_client(_: Key, issuer: Key) -> Extensions:
    """The extensions that cert-manager gives a client's Certificate, with a DNS name."""
    names = x509.SubjectAlternativeName([x509.DNSName("client.example")])
    return [
        (GO_LEAF, True),
        (CLIENT, False),
        (basic(ca=False), True),
        (aki(issuer), False),
        (names, False),
    ]


def bare_ca(_: Key) -> Extensions:
    """The minimum for an authority."""
    return [(basic(ca=True), True)]


def bare_client(_: Key, __: Key) -> Extensions:
    """The minimum for a client."""
    return [(CLIENT, False)]


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
    """Certificates from the usual tools are valid, with RSA keys and with ECDSA keys."""
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
    """A certificate is valid from its first moment to its last, and at no other time."""
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
    """Times are compared across time zones."""
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
    """An authority renewed with the same key replaces the expired one, in any order."""
    expired = authority(validity=(NOW - 2 * DAY, NOW - timedelta(hours=1)))
    renewed, made = authority(key=expired.key), client(expired)

    assert ClientCAs(expired.pem + renewed.pem).verify([made.der], NOW) is not None
    assert ClientCAs(renewed.pem + expired.pem).verify([made.der], NOW) is not None


def test_an_intermediate_in_the_bundle_vouches() -> None:
    """Anything in the bundle is trusted, self-signed or not, as in Go."""
    root, key = authority("root"), ec_key(0)
    intermediate = certify(name("intermediate"), key, kubeadm_ca(key), root)

    assert ClientCAs(intermediate.pem).verify([client(intermediate).der], NOW) is not None
    assert ClientCAs(root.pem).verify([client(intermediate).der], NOW) is None
