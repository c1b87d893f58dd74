"""Chains of client certificates."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509

from metrics_server.auth.client_certificates import ClientCAs
from tests.auth.client_certificates.test_accepted import rsa_key
from tests.auth.client_certificates.test_rejected import SERVER
from tests.support.client_certificates import (
    CLIENT,
    DAY,
    NOW,
    Certified,
    Extensions,
    Key,
    authority,
    basic,
    certify,
    client,
    ec_key,
    kubeadm_ca,
    name,
    usage,
)


def intermediate(
    issuer: Certified, extensions: Callable[[Key], Extensions] = kubeadm_ca, called: str = "between"
) -> Certified:
    """An authority signed by another."""
    key = ec_key(0)
    return certify(name(called), key, extensions(key), issuer)


def test_an_intermediate_that_is_sent_leads_to_the_root() -> None:
    """A chain verifies if it is complete, in any order, even with unrelated certificates."""
    root = authority("root")
    first = intermediate(root, called="first")
    second = intermediate(first, called="second")
    made = client(second)
    cas = ClientCAs(root.pem)

    assert cas.verify([made.der, second.der, first.der], NOW) is not None
    assert cas.verify([made.der, first.der, second.der, root.der], NOW) is not None
    assert cas.verify([made.der, authority("stray").der, second.der, first.der], NOW) is not None
    assert cas.verify([made.der, second.der], NOW) is None
    assert cas.verify([made.der, first.der], NOW) is None
    assert cas.verify([made.der], NOW) is None


def test_what_is_sent_is_not_trusted() -> None:
    """A root that the peer sends is not trusted."""
    theirs = authority("root")
    made = client(theirs)

    assert ClientCAs(authority("root").pem).verify([made.der, theirs.der], NOW) is None


@pytest.mark.parametrize(
    ("root", "between"),
    [
        pytest.param(kubeadm_ca, lambda _: [(basic(ca=False), True)], id="no authority"),
        pytest.param(kubeadm_ca, lambda _: [], id="does not say that it is one"),
        pytest.param(
            kubeadm_ca,
            lambda _: [(usage("key_cert_sign"), True)],
            id="its key may sign certificates, but it is no authority",
        ),
        pytest.param(
            kubeadm_ca,
            lambda _: [(basic(ca=True), True), (usage("digital_signature"), True)],
            id="its key may not sign certificates",
        ),
        pytest.param(
            kubeadm_ca, lambda _: [(basic(ca=True), True), (SERVER, False)], id="for servers only"
        ),
        pytest.param(
            lambda _: [(basic(ca=True, path_length=0), True)], kubeadm_ca, id="a chain too long"
        ),
        pytest.param(
            lambda _: [(basic(ca=True), True), (SERVER, False)],
            kubeadm_ca,
            id="under a root for servers only",
        ),
        pytest.param(
            lambda _: [
                (basic(ca=True), True),
                (x509.NameConstraints([x509.DNSName("example.com")], None), True),
            ],
            lambda _: [
                (basic(ca=True), True),
                (x509.SubjectAlternativeName([x509.DNSName("evil.test")]), False),
            ],
            id="a name that the root may not vouch for",
        ),
    ],
)
def test_an_intermediate_that_may_not_vouch(
    root: Callable[[Key], Extensions], between: Callable[[Key], Extensions]
) -> None:
    """Each rule applies to every certificate in the chain."""
    key = ec_key(0)
    top = certify(name("root"), key, root(key))
    middle = intermediate(top, between)
    made = client(middle)

    assert ClientCAs(top.pem).verify([made.der, middle.der], NOW) is None


def test_validity_ends_with_the_first_of_the_chain() -> None:
    """A chain is valid until the first of its certificates expires."""
    root, key = authority("root"), ec_key(0)
    hour = timedelta(hours=1)
    middle = certify(name("between"), key, kubeadm_ca(key), root, (NOW - DAY, NOW + hour))
    made = client(middle)
    cas = ClientCAs(root.pem)

    verified = cas.verify([made.der, middle.der], NOW)

    assert verified is not None
    assert verified.expires == NOW + hour
    assert cas.verify([made.der, middle.der], NOW + 2 * hour) is None


@pytest.mark.parametrize("make_key", [rsa_key, ec_key])
def test_authorities_of_one_name_without_key_identifiers(make_key: Callable[[int], Key]) -> None:
    """In a rotation both are trusted, in either order, although they have the same name."""
    old, new = (
        certify(name("front-proxy-ca"), key, [(basic(ca=True), True)])
        for key in (make_key(0), make_key(1))
    )
    clients = [certify(name("a"), ec_key(0), [(CLIENT, False)], issuer) for issuer in (old, new)]
    forged = certify(
        name("a"),
        ec_key(0),
        [(CLIENT, False)],
        certify(name("front-proxy-ca"), ec_key(0), [(basic(ca=True), True)]),
    )

    for bundle in (old.pem + new.pem, new.pem + old.pem, old.pem + old.pem + new.pem):
        cas = ClientCAs(bundle)
        assert all(cas.verify([one.der], NOW) for one in clients)
        assert cas.verify([forged.der], NOW) is None
    assert ClientCAs(old.pem).verify([clients[1].der], NOW) is None
