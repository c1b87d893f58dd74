"""Client certificates that are rejected."""

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_server.auth.client_certificates import ClientCAs
from tests.support.client_certificates import (
    CLIENT,
    NOW,
    Certified,
    Extensions,
    Key,
    aki,
    authority,
    basic,
    certify,
    client,
    ec_key,
    kubeadm_client,
    name,
    usage,
)

SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def _under(extensions: Extensions) -> Callable[[], tuple[Certified, Certified]]:
    """A client with these extensions, and its authority."""

    def make() -> tuple[Certified, Certified]:
        issuer = authority()
        return issuer, certify(
            name("a"), ec_key(0), [*extensions, (aki(issuer.key), False)], issuer
        )

    return make


def _by(extensions: Callable[[Key], Extensions]) -> Callable[[], tuple[Certified, Certified]]:
    """A client, and its authority, which has these extensions."""

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
    """A certificate for another purpose, or from another issuer, identifies no client."""
    issuer, made = make()

    assert ClientCAs(issuer.pem).verify([made.der], NOW) is None


def test_without_an_extended_key_usage_any_use_is_allowed() -> None:
    """As in Go, a certificate without an extended key usage is valid for any use."""
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
    """An altered certificate is rejected without an exception, unless an unread byte changed.

    That byte is the count of unused bits before the signature: the signature is unchanged.
    """
    altered = bytearray(DER)
    altered[place] ^= change

    verified = CAS.verify([bytes(altered)], NOW)

    assert verified is None or (verified == CAS.verify([DER], NOW) and is_unread(place))


def is_unread(place: int) -> bool:
    """Whether a byte of the certificate is the first of its signature: the count of unused bits."""
    signature = x509.load_der_x509_certificate(DER).signature
    return place == len(DER) - len(signature) - 1


@given(st.binary())
def test_a_malformed_certificate_is_rejected(der: bytes) -> None:
    """Arbitrary bytes are rejected without an exception."""
    assert CAS.verify([der], NOW) is None


@pytest.mark.parametrize(
    "pem", [b"", b"nonsense", ISSUER.pem[:-40], ISSUER.pem.replace(b"M", b"N")]
)
def test_a_bundle_that_cannot_be_read(pem: bytes) -> None:
    """A bundle with no certificate, or a broken one, is an error at once."""
    with pytest.raises(ValueError, match=r"."):
        ClientCAs(pem)
