"""Old kinds of certificates, weak cryptography and long chains."""

from collections.abc import Callable
from datetime import datetime
from time import process_time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from metrics_server.auth.client_certificates import ClientCAs
from metrics_server.tls.peer import PeerCertificates
from tests.support.client_certificates import (
    CLIENT,
    DAY,
    NOW,
    Certified,
    authority,
    certify,
    client,
    ec_key,
    kubeadm_ca,
    kubeadm_client,
    name,
)

ANY = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
VALID = (NOW - DAY, NOW + DAY)
_VERSION_3 = bytes.fromhex("a003020102")


def ed25519_key(_: int) -> ed25519.Ed25519PrivateKey:
    """A new key."""
    return ed25519.Ed25519PrivateKey.generate()


def version_1(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: Certified | None = None,
    validity: tuple[datetime, datetime] = VALID,
) -> Certified:
    """An X.509 version 1 certificate, as old scripts make for authorities; no library makes one."""
    modern = certify(subject, key, [], issuer, validity).certificate
    body = modern.tbs_certificate_bytes
    content = body[_header(body) :].removeprefix(_VERSION_3)
    signed = _element(0x30, content)
    signer = issuer.key if issuer else key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    signature = signer.sign(signed, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    der = _element(0x30, signed + algorithm + _element(0x03, b"\0" + signature))
    made = x509.load_der_x509_certificate(der)
    assert made.version is x509.Version.v1
    return Certified(made, key)


def _header(der: bytes) -> int:
    return 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    length = bytes([size]) if size < 0x80 else bytes([0x80 | len(digits)]) + digits
    return bytes([tag]) + length + content


def test_kinds_that_go_takes() -> None:
    """Ed25519, version 1 and anyExtendedKeyUsage are valid, wherever they are used."""
    modern, old = authority(), version_1(name("old"), ec_key(0))
    key = ed25519_key(0)
    edwards = certify(name("edwards"), key, kubeadm_ca(key))
    cas = ClientCAs(modern.pem + old.pem + edwards.pem)
    good = [
        client(old),
        version_1(name("a"), ec_key(0), old),
        version_1(name("a"), ec_key(0), modern),
        client(edwards),
        certify(name("a"), ed25519_key(0), [(CLIENT, False)], edwards),
        certify(name("a"), ed25519_key(0), [(CLIENT, False)], modern),
        certify(name("a"), ec_key(0), [(ANY, False)], modern),
        certify(name("a"), ec_key(0), [(ANY, True)], modern),
    ]
    for made in good:
        assert cas.verify([made.der], NOW) is not None


def test_version_1_makes_no_intermediate() -> None:
    """Without extensions a certificate is an authority only if it is in the bundle."""
    root = authority("root")
    middle = version_1(name("between"), ec_key(0), root)
    made = client(middle)

    assert ClientCAs(root.pem).verify([made.der, middle.der], NOW) is None


def test_a_client_of_version_1_is_not_a_ca_outside_the_bundle() -> None:
    """A user's version 1 certificate cannot sign others."""
    root = version_1(name("root"), ec_key(0))
    user = version_1(name("user"), ec_key(0), root)
    made = certify(name("admin", "system:masters"), ec_key(0), [(CLIENT, False)], user)

    assert ClientCAs(root.pem).verify([made.der, user.der], NOW) is None


def _signed_with_sha1() -> tuple[Certified, Certified]:
    issuer = authority()
    made = client(issuer)
    # The algorithm's object identifier, inside and outside, determines the digest.
    body = made.certificate.tbs_certificate_bytes.replace(
        bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06072a8648ce3d0401")
    )
    content = body[_header(body) :]
    # Two algorithm identifiers have become shorter: only their own length changes.
    content = content.replace(bytes.fromhex("300a06072a"), bytes.fromhex("300906072a"))
    signed = _element(0x30, content)
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    signature = issuer.key.sign(signed, ec.ECDSA(hashes.SHA1()))  # noqa: S303 - what is refused
    algorithm = bytes.fromhex("300906072a8648ce3d0401")
    der = _element(0x30, signed + algorithm + _element(0x03, b"\0" + signature))
    found = x509.load_der_x509_certificate(der)
    assert isinstance(found.signature_hash_algorithm, hashes.SHA1)
    return issuer, Certified(found, made.key)


def _with_a_weak_key() -> tuple[Certified, Certified]:
    issuer = authority()
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what is refused
    return issuer, certify(name("a"), weak, kubeadm_client(weak, issuer.key), issuer)


def _on_a_weak_curve() -> tuple[Certified, Certified]:
    issuer = authority()
    weak = ec.generate_private_key(ec.SECP192R1())
    return issuer, certify(name("a"), weak, kubeadm_client(weak, issuer.key), issuer)


@pytest.mark.parametrize("make", [_signed_with_sha1, _with_a_weak_key, _on_a_weak_curve])
def test_weak_cryptography_is_refused(make: Callable[[], tuple[Certified, Certified]]) -> None:
    """A breakable digest or key proves nothing."""
    issuer, made = make()

    assert ClientCAs(issuer.pem).verify([made.der], NOW) is None


def test_a_long_chain_costs_little() -> None:
    """Hundreds of certificates that sign each other are not followed."""
    root = authority("root")
    keys = [ec_key(0) for _ in range(2)]
    # Each could have signed every other: the number of paths grows exponentially with theirs.
    sent = [
        certify(name("x"), keys[n % 2], kubeadm_ca(keys[n % 2]), Certified(one, keys[(n + 1) % 2]))
        for n, one in enumerate(
            [certify(name("x"), keys[0], kubeadm_ca(keys[0])).certificate for _ in range(300)]
        )
    ]
    made = client(Certified(sent[0].certificate, keys[0]))
    began = process_time()
    assert ClientCAs(root.pem).verify([made.der, *(one.der for one in sent)], NOW) is None
    assert process_time() - began < 0.05


def test_chains_are_distinguished() -> None:
    """Results are cached by a digest of all certificates, in order."""
    a, b = PeerCertificates((b"a", b"b")), PeerCertificates((b"ab",))
    assert len({a.digest, b.digest, PeerCertificates((b"b", b"a")).digest}) == 3
    assert PeerCertificates((b"a", b"b")).digest == a.digest


def test_a_client_in_the_bundle_does_not_vouch_for_itself() -> None:
    """A bundle lists authorities: a self-signed client in it is not one."""
    key = ec_key(0)
    made = certify(name("a"), key, [(CLIENT, False)])

    assert ClientCAs(made.pem).verify([made.der], NOW) is None
