"""It is not enough that a pair loads: some client must be able to connect with it."""

import ssl
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from metrics_server.errors import ConfigurationError
from metrics_server.http.listener import listening
from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.context import ListeningContext
from metrics_server.tls.openssl import server_context
from metrics_server.tls.rehearsal import rehearse
from tests.support.pairs import Key, self_signed
from tests.support.peers import HOST, ask, server, trusting

AUTHORITY = Authority("server")


def too_long() -> KeyPair:
    """A pair with a longer chain than clients read."""
    pair = AUTHORITY.issue([HOST])
    return KeyPair(pair.certificate + AUTHORITY.bundle * 300, pair.key)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(
            lambda: self_signed(ec.generate_private_key(ec.BrainpoolP256R1())),
            "brainpoolP256r1",
            id="a curve that TLS does not offer",
        ),
        pytest.param(
            lambda: self_signed(ec.generate_private_key(ec.SECP256K1())),
            "secp256k1",
            id="another one",
        ),
        pytest.param(
            lambda: self_signed(dsa.generate_private_key(2048)), "DSA", id="a kind of key"
        ),
        pytest.param(too_long, "excessive message size", id="a chain too long"),
    ],
)
async def test_a_pair_that_nobody_can_connect_with_is_refused(
    make: Callable[[], KeyPair], why: str
) -> None:
    """The previous pair stays in use, and the message says why."""
    context = ListeningContext(AUTHORITY.issue([HOST]))
    async with listening(server(), HOST, 0, context) as (_, port):
        before = await ask(port, trusting(AUTHORITY.bundle))
        with pytest.raises(ConfigurationError, match=rf"(?i)serving pair.*{why}"):
            context.use_pair(make())
        assert (await ask(port, trusting(AUTHORITY.bundle))).serial == before.serial


@pytest.mark.parametrize(
    "generate",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate,
    ],
    ids=["RSA", "P-384", "P-521", "Ed25519"],
)
def test_what_clients_accept_is_taken_up(generate: Callable[[], Key]) -> None:
    """Each kind of key that a Go client supports is valid."""
    ListeningContext(self_signed(generate()))


def test_a_context_without_a_certificate_is_no_success() -> None:
    """A failed handshake is an error of the pair, with OpenSSL's message."""
    context = server_context(AUTHORITY.issue([HOST]))
    context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256")
    context.set_max_proto_version(ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ConfigurationError, match=r"^no client could connect .*: "):
        rehearse(context)
