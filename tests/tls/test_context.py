import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import ClientSession, TCPConnector, web
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from metrics_server.errors import ConfigurationError
from metrics_server.http.listener import listening
from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.context import ListeningContext
from tests.support.peers import (
    HOST,
    PATIENCE_SECONDS,
    LoopFactory,
    ask,
    client_pair,
    of_both_versions,
    on_both_loops,
    run,
    server,
    trusting,
    vouching,
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
    """After a rotation the old authority's client is nobody, with or without an old session."""

    async def body() -> None:
        ours, old, new = Authority("server"), Authority("old"), Authority("new")
        context = ListeningContext(pair_of(ours))
        context.use_verifier(vouching(old.bundle))
        of_old = trusting(ours.bundle, client_pair(old, "old-peer"), version)
        of_new = trusting(ours.bundle, client_pair(new, "new-peer"), version)
        async with listening(server(), HOST, 0, context) as (_, port):
            before = await ask(port, of_old)
            assert before.text == "old-peer"
            assert (await ask(port, of_new)).text == "nobody"
            context.use_verifier(vouching(new.bundle))
            again = await ask(port, of_old, session=before.session)
            assert (again.text, again.resumed) == ("nobody", False)
            assert (await ask(port, of_old)).text == "nobody"
            assert (await ask(port, of_new)).text == "new-peer"
            assert (await ask(port, trusting(ours.bundle, version=version))).text == "nobody"

    run(new_loop, body())


@on_both_loops
@of_both_versions
def test_no_session_is_taken_up_again(new_loop: LoopFactory, version: ssl.TLSVersion) -> None:
    """Every connection verifies its client again, even if nothing has changed."""

    async def body() -> None:
        ours, clients = Authority("server"), Authority("clients")
        context = ListeningContext(pair_of(ours))
        context.use_verifier(vouching(clients.bundle))
        client = trusting(ours.bundle, client_pair(clients, "peer"), version)
        async with listening(server(), HOST, 0, context) as (_, port):
            first = await ask(port, client)
            second = await ask(port, client, session=first.session)
            assert (second.text, second.resumed) == ("peer", False)

    run(new_loop, body())


@on_both_loops
@of_both_versions
def test_certificates_that_do_not_verify_are_those_of_nobody(
    new_loop: LoopFactory, version: ssl.TLSVersion
) -> None:
    """The client is connected, as it may have a token, but counts as having no certificate."""

    async def body() -> None:
        ours, clients = Authority("server"), Authority("clients")
        context = ListeningContext(pair_of(ours))
        context.use_verifier(vouching(clients.bundle))
        async with listening(server(), HOST, 0, context) as (_, port):
            for pair in (
                client_pair(None, "self-signed"),
                client_pair(clients, "expired", ends=-timedelta(minutes=1)),
                client_pair(Authority("clients"), "a namesake's"),
                client_pair(clients, "a server's", usage=ExtendedKeyUsageOID.SERVER_AUTH),
            ):
                assert (await ask(port, trusting(ours.bundle, pair, version))).text == "nobody"

    run(new_loop, body())


@on_both_loops
@of_both_versions
def test_a_new_pair_is_served_on_new_connections(
    new_loop: LoopFactory, version: ssl.TLSVersion
) -> None:
    """A pair from another authority is served at once, with and without a server name."""

    async def body() -> None:
        old, new = Authority("old"), Authority("new")
        context = ListeningContext(pair_of(old))
        async with listening(server(), HOST, 0, context) as (_, port):
            await ask(port, trusting(old.bundle, version=version))
            context.use_pair(pair_of(new))
            # An address is not sent as a server name.
            for name in (HOST, "localhost"):
                await ask(port, trusting(new.bundle, version=version), name=name)
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask(port, trusting(old.bundle, version=version))

    run(new_loop, body())


@on_both_loops
@of_both_versions
def test_large_bodies_pass_both_ways(new_loop: LoopFactory, version: ssl.TLSVersion) -> None:
    """Bodies of many TLS records arrive complete, in whatever pieces they come."""

    async def repeat(request: web.BaseRequest) -> web.Response:
        return web.Response(body=await request.read() * int(request.query["times"]))

    async def body() -> None:
        ours = Authority("server")
        context = trusting(ours.bundle, version=version)
        asked = bytes(range(256)) * 160
        # This server reads bodies; the product's does not.
        runner = web.ServerRunner(web.Server(repeat))
        await runner.setup()
        tls = ListeningContext(pair_of(ours))
        await web.TCPSite(runner, HOST, 0, ssl_context=tls).start()
        async with ClientSession(connector=TCPConnector(ssl=context)) as session:
            url = f"https://{HOST}:{runner.addresses[0][1]}/?times="
            for size, times in ((0, 1), (1, 1), (1024, 16), (1025, 16), (len(asked), 60)):
                sent = asked[:size]
                async with session.post(f"{url}{times}", data=sent) as answer:
                    assert await answer.read() == sent * times
        await runner.cleanup()

    run(new_loop, body())


async def test_what_cannot_be_used_changes_nothing() -> None:
    """A broken pair is rejected, and the previous one stays in use."""
    ours, clients = Authority("server"), Authority("clients")
    context = ListeningContext(pair_of(ours))
    context.use_verifier(vouching(clients.bundle))
    client = trusting(ours.bundle, client_pair(clients, "peer"))
    async with listening(server(), HOST, 0, context) as (_, port):
        mixed = KeyPair(pair_of(ours).certificate, pair_of(ours).key)
        for bad in (mixed, KeyPair(b"no", b"pair"), KeyPair(b"", b"")):
            with pytest.raises(ConfigurationError):
                context.use_pair(bad)
        assert (await ask(port, client)).text == "peer"


async def test_only_sound_tls_is_spoken() -> None:
    """TLS 1.2 has forward secrecy and authenticated encryption, and ALPN chooses http/1.1."""
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


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(9), b"\x16\x02\x01\0\x20x"]
)
async def test_what_is_not_tls_is_refused_at_once(sent: bytes) -> None:
    """Bytes that look like a record's length do not make the server wait for the rest."""
    context = ListeningContext(pair_of(Authority("server")))
    async with listening(server(), HOST, 0, context) as (_, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(sent)
        async with asyncio.timeout(PATIENCE_SECONDS / 2):
            await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def test_tls_1_1_is_refused() -> None:
    """A client with TLS 1.1 at most is rejected for that."""
    ours = Authority("server")
    client = trusting(ours.bundle)
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    async with listening(server(), HOST, 0, ListeningContext(pair_of(ours))) as (_, port):
        with capture_logs() as logs, pytest.raises(REFUSED):
            await ask(port, client)
    assert "unsupported protocol" in logs[0]["error"]


def test_a_certificate_about_to_expire_is_a_problem() -> None:
    """The last tenth of its lifetime is reported, and its expiry; nothing before."""
    now = datetime.now(UTC)
    authority = Authority("server", timedelta(days=100))
    context = ListeningContext(authority.issue([HOST], timedelta(days=10)))
    assert context.problem(now) is None
    assert context.problem(now + timedelta(days=8.9)) is None
    assert "was not renewed" in (context.problem(now + timedelta(days=9.1)) or "")
    assert "expired at" in (context.problem(now + timedelta(days=10.1)) or "")
    assert now + timedelta(days=9) < context.expires < now + timedelta(days=11)
