"""Which certificates a whole server trusts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from metrics_server.simulator.kube.trust import FRONT_PROXY
from metrics_server.tls.authority import Authority, KeyPair
from tests.auth.client_certificates.test_rejected import SERVER
from tests.auth.test_chains import intermediate
from tests.auth.test_weak_certificates import ed25519_key, version_1
from tests.support.client_certificates import (
    CLIENT,
    Certified,
    Extensions,
    Key,
    basic,
    certify,
    ec_key,
    kubeadm_ca,
    name,
)
from tests.support.harness import Cluster
from tests.support.trust import publish, status
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


NOW = datetime.now(UTC)
VALID = (NOW - timedelta(days=1), NOW + timedelta(days=1))
PROXY = name(FRONT_PROXY)


def pair(*chain: Certified) -> KeyPair:
    """A client's own certificate, and those that it sends along."""
    own = chain[0].key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return KeyPair(b"".join(one.pem for one in chain), own)


def signed_by(
    issuer: Certified,
    subject: x509.Name = PROXY,
    key: Key | None = None,
    extensions: Extensions = ((CLIENT, False),),
) -> Certified:
    """A client's certificate that is valid now."""
    return certify(subject, key or ec_key(0), extensions, issuer, VALID)


def root(called: str = "front-proxy-ca", extensions: Extensions | None = None) -> Certified:
    """An authority that is valid now."""
    key = ec_key(0)
    return certify(name(called), key, extensions or kubeadm_ca(key), validity=VALID)


async def taken(simulated: Cluster, shown: KeyPair) -> int:
    """The status that a front proxy gets, once the trust is loaded."""

    async def ask() -> int:
        return await status(simulated, shown, {"X-Remote-User": "alice"})

    return await eventually(ask, lambda code: code == 200)


async def test_a_front_proxy_under_an_intermediate(simulated: Cluster) -> None:
    """The chain that it sends leads to the authority that the cluster trusts."""
    top = root()
    middle = certify(name("between"), key := ec_key(0), kubeadm_ca(key), top, VALID)
    proxy = signed_by(middle)
    publish(simulated, requestheader_client_ca_file=top.pem.decode())

    assert await taken(simulated, pair(proxy, middle)) == 200
    assert await status(simulated, pair(proxy), {"X-Remote-User": "alice"}) == 401


async def test_a_user_under_an_intermediate(simulated: Cluster) -> None:
    """The same for users; their groups are those in their own certificate."""
    top = root("kubernetes-ca")
    middle = certify(name("between"), key := ec_key(0), kubeadm_ca(key), top, VALID)
    user = signed_by(middle, name("jane", "system:masters"))
    publish(simulated, client_ca_file=top.pem.decode())

    async def ask() -> int:
        return await status(simulated, pair(user, middle), {}, "/metrics")

    assert await eventually(ask, lambda code: code == 200) == 200
    assert await status(simulated, pair(user), {}, "/metrics") == 401


@pytest.mark.parametrize("newest_first", [True, False])
async def test_two_authorities_of_one_name(simulated: Cluster, *, newest_first: bool) -> None:
    """Without key identifiers, both front proxies are accepted during a rotation."""
    old, new = (root(extensions=[(basic(ca=True), True)]) for _ in range(2))
    bundle = new.pem + old.pem if newest_first else old.pem + new.pem
    publish(simulated, requestheader_client_ca_file=bundle.decode())

    for issuer in (old, new):
        assert await taken(simulated, pair(signed_by(issuer))) == 200


def _of_version_1() -> tuple[Certified, Certified]:
    issuer = version_1(name("front-proxy-ca"), ec_key(0), validity=VALID)
    return issuer, signed_by(issuer)


def _ed25519() -> tuple[Certified, Certified]:
    key = ed25519_key(0)
    issuer = certify(name("front-proxy-ca"), key, kubeadm_ca(key), validity=VALID)
    return issuer, signed_by(issuer, key=ed25519_key(0))


def _for_any_use() -> tuple[Certified, Certified]:
    anything = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    issuer = root()
    return issuer, signed_by(issuer, extensions=[(anything, False)])


@pytest.mark.parametrize("make", [_of_version_1, _ed25519, _for_any_use])
async def test_kinds_that_go_takes(
    simulated: Cluster, make: Callable[[], tuple[Certified, Certified]]
) -> None:
    """A front proxy that Go servers accept is accepted here."""
    issuer, proxy = make()
    publish(simulated, requestheader_client_ca_file=issuer.pem.decode())

    assert await taken(simulated, pair(proxy)) == 200


def _of_nobody() -> KeyPair:
    return Authority("self").issue_client("admin", ["system:masters"])


def _expired() -> KeyPair:
    issuer = root("kubernetes-ca")
    ended = (NOW - timedelta(days=2), NOW - timedelta(days=1))
    return pair(certify(name("admin"), ec_key(0), [(CLIENT, False)], issuer, ended))


def _of_a_server() -> KeyPair:
    return pair(signed_by(root("kubernetes-ca"), name("admin"), extensions=[(SERVER, False)]))


def _of_a_broken_chain() -> KeyPair:
    return pair(signed_by(intermediate(root("kubernetes-ca"))), root("other"))


@pytest.mark.parametrize("make", [_of_nobody, _expired, _of_a_server, _of_a_broken_chain])
async def test_a_good_token_beside_a_certificate_that_does_not_verify(
    simulated: Cluster, make: Callable[[], KeyPair]
) -> None:
    """The certificate is ignored, and the token works as usual; identity headers never do."""
    shown = make()
    asserted = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
    token = {"Authorization": "Bearer good"}

    assert await status(simulated, shown, {**asserted, **token}) == 200
    assert simulated.trust.reviews.access_reviews[-1]["spec"] == {
        "user": "robot",
        "groups": ["robots", "system:authenticated"],
        "resourceAttributes": {
            "namespace": "default",
            "verb": "list",
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "resource": "gpu_utilization",
        },
    }
    assert await status(simulated, shown, {**asserted, "Authorization": "Bearer bad"}) == 401
    # As in Go: a caller with a bad certificate is not anonymous, except for health.
    assert await status(simulated, shown, asserted) == 401
