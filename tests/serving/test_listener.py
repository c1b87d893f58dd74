import ssl
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from metrics_server.errors import ConfigurationError
from metrics_server.serving.authority import Authority, KeyPair
from metrics_server.serving.limits import listening
from metrics_server.serving.listener import ListeningContext
from tests.serving.peers import (
    HOST,
    LoopFactory,
    ask,
    client_pair,
    of_both_versions,
    on_both_loops,
    run,
    server,
    trusting,
)

REFUSED = (ssl.SSLError, ConnectionError)


def pair_of(authority: Authority) -> KeyPair:
    """A pair for the loopback address."""
    return authority.issue([HOST, "localhost"])


@on_both_loops
@of_both_versions
def test_an_authority_that_is_gone_is_trusted_no_more(
    new_loop: LoopFactory, version: ssl.TLSVersion
) -> None:
    """After a rotation the old authority's peer is refused, whether or not it had a session."""

    async def body() -> None:
        ours, old, new = Authority("server"), Authority("old"), Authority("new")
        context = ListeningContext(pair_of(ours))
        context.use_client_cas(old.bundle)
        of_old = trusting(ours.bundle, client_pair(old, "old-peer"), version)
        of_new = trusting(ours.bundle, client_pair(new, "new-peer"), version)
        async with listening(server(), HOST, 0, context) as (_, port):
            before = await ask(port, of_old)
            assert before.text == "old-peer"
            with pytest.raises(REFUSED):
                await ask(port, of_new)
            context.use_client_cas(new.bundle)
            with pytest.raises(REFUSED):
                await ask(port, of_old, session=before.session)
            with pytest.raises(REFUSED):
                await ask(port, of_old)
            assert (await ask(port, of_new)).text == "new-peer"
            assert (await ask(port, trusting(ours.bundle, version=version))).text == "nobody"

    run(new_loop, body())


@on_both_loops
@of_both_versions
def test_no_session_is_taken_up_again(new_loop: LoopFactory, version: ssl.TLSVersion) -> None:
    """Every connection verifies its peer anew, even while nothing changes."""

    async def body() -> None:
        ours, clients = Authority("server"), Authority("clients")
        context = ListeningContext(pair_of(ours))
        context.use_client_cas(clients.bundle)
        client = trusting(ours.bundle, client_pair(clients, "peer"), version)
        async with listening(server(), HOST, 0, context) as (_, port):
            first = await ask(port, client)
            second = await ask(port, client, session=first.session)
            assert (second.text, second.resumed) == ("peer", False)

    run(new_loop, body())


@on_both_loops
@of_both_versions
def test_certificates_that_do_not_verify_end_the_handshake(
    new_loop: LoopFactory, version: ssl.TLSVersion
) -> None:
    """A self-signed, an expired, and an unknown authority's certificate are no way in."""

    async def body() -> None:
        ours, clients = Authority("server"), Authority("clients")
        context = ListeningContext(pair_of(ours))
        context.use_client_cas(clients.bundle)
        async with listening(server(), HOST, 0, context) as (_, port):
            for pair in (
                client_pair(None, "self-signed"),
                client_pair(clients, "expired", ends=-timedelta(minutes=1)),
                client_pair(Authority("clients"), "a namesake's"),
            ):
                with pytest.raises(REFUSED):
                    await ask(port, trusting(ours.bundle, pair, version))

    run(new_loop, body())


@on_both_loops
@of_both_versions
def test_a_new_pair_is_served_on_new_connections(
    new_loop: LoopFactory, version: ssl.TLSVersion
) -> None:
    """A pair of another authority is served at once, with and without a name in the handshake."""

    async def body() -> None:
        old, new = Authority("old"), Authority("new")
        context = ListeningContext(pair_of(old))
        async with listening(server(), HOST, 0, context) as (_, port):
            await ask(port, trusting(old.bundle, version=version))
            context.use_pair(pair_of(new))
            # An address is no server name: it is not sent.
            for name in (HOST, "localhost"):
                await ask(port, trusting(new.bundle, version=version), name=name)
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask(port, trusting(old.bundle, version=version))

    run(new_loop, body())


@on_both_loops
@of_both_versions
def test_without_authorities_nobody_is_asked(
    new_loop: LoopFactory, version: ssl.TLSVersion
) -> None:
    """A client with a certificate is served as one without, and asked again once there are some."""

    async def body() -> None:
        ours, clients = Authority("server"), Authority("clients")
        context = ListeningContext(pair_of(ours))
        client = trusting(ours.bundle, client_pair(clients, "peer"), version)
        async with listening(server(), HOST, 0, context) as (_, port):
            assert (await ask(port, client)).text == "nobody"
            context.use_client_cas(clients.bundle)
            assert (await ask(port, client)).text == "peer"
            context.use_client_cas(b"\n")
            assert (await ask(port, client)).text == "nobody"

    run(new_loop, body())


async def test_a_listed_authority_that_is_no_root_is_trusted() -> None:
    """As in Go, what is listed is trusted by itself, and needs nothing above it."""
    ours, root = Authority("server"), Authority("root")
    # A certificate that the root has signed, and that is no root: the client's own.
    pair = client_pair(root, "pinned")
    context = ListeningContext(pair_of(ours))
    context.use_client_cas(pair.certificate)
    async with listening(server(), HOST, 0, context) as (_, port):
        assert (await ask(port, trusting(ours.bundle, pair))).text == "pinned"


async def test_what_cannot_be_used_changes_nothing() -> None:
    """A broken pair and broken authorities are refused, and what was there goes on."""
    ours, clients = Authority("server"), Authority("clients")
    context = ListeningContext(pair_of(ours))
    context.use_client_cas(clients.bundle)
    client = trusting(ours.bundle, client_pair(clients, "peer"))
    async with listening(server(), HOST, 0, context) as (_, port):
        mixed = KeyPair(pair_of(ours).certificate, pair_of(ours).key)
        for bad in (mixed, KeyPair(b"no", b"pair"), KeyPair(b"", b"")):
            with pytest.raises(ConfigurationError):
                context.use_pair(bad)
        for bundle in (b"no certificate", clients.bundle[:200]):
            with pytest.raises(ConfigurationError, match="client CAs"):
                context.use_client_cas(bundle)
        assert (await ask(port, client)).text == "peer"


async def test_text_beside_the_certificates_does_no_harm() -> None:
    """Bundles come with comments, and not all of them are ASCII."""
    ours, clients = Authority("server"), Authority("clients")
    context = ListeningContext(pair_of(ours))
    context.use_client_cas("# Autorité\n".encode() + clients.bundle + b"\n\n" + clients.bundle)
    client = trusting(ours.bundle, client_pair(clients, "peer"))
    async with listening(server(), HOST, 0, context) as (_, port):
        assert (await ask(port, client)).text == "peer"


async def test_only_sound_tls_is_spoken() -> None:
    """TLS 1.2 comes with forward secrecy and authenticated encryption, and ALPN with http/1.1."""
    ours = Authority("server")
    context = ListeningContext(pair_of(ours))
    async with listening(server(), HOST, 0, context) as (_, port):
        client = trusting(ours.bundle, version=ssl.TLSVersion.TLSv1_2)
        client.set_alpn_protocols(["h2", "http/1.1"])
        seen = await ask(port, client)
        assert seen.cipher.startswith("ECDHE-")
        assert "GCM" in seen.cipher or "CHACHA20" in seen.cipher
        assert seen.protocol == "http/1.1"
        for weak in ("ECDHE+SHA", "AESGCM:!ECDHE", "ECDHE+SHA256:!AESGCM"):
            client = trusting(ours.bundle, version=ssl.TLSVersion.TLSv1_2)
            client.set_ciphers(weak)
            with pytest.raises(REFUSED):
                await ask(port, client)


async def test_tls_1_1_is_refused() -> None:
    """A client that speaks nothing newer than TLS 1.1 is refused for that."""
    ours = Authority("server")
    client = trusting(ours.bundle)
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    async with listening(server(), HOST, 0, ListeningContext(pair_of(ours))) as (_, port):
        with capture_logs() as logs, pytest.raises(REFUSED):
            await ask(port, client)
    assert "UNSUPPORTED_PROTOCOL" in logs[0]["error"]


def test_a_certificate_about_to_expire_is_a_complaint() -> None:
    """Its last tenth is told, and its end; before there is nothing to tell."""
    now = datetime.now(UTC)
    authority = Authority("server", timedelta(days=100))
    context = ListeningContext(authority.issue([HOST], timedelta(days=10)))
    assert context.complaint(now) is None
    assert context.complaint(now + timedelta(days=8.9)) is None
    assert "was not renewed" in (context.complaint(now + timedelta(days=9.1)) or "")
    assert "expired at" in (context.complaint(now + timedelta(days=10.1)) or "")
    assert now + timedelta(days=9) < context.expires < now + timedelta(days=11)
