"""Clients with certificates, and their view of a server."""

import asyncio
import socket
import ssl
import tempfile
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import uvloop
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from metrics_server.auth.client_certificates import ClientCAs
from metrics_server.http.limits import Limits
from metrics_server.http.reply import Reply
from metrics_server.http.server import LimitedServer
from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.openssl import Verifier

HOST = "127.0.0.1"
PATIENCE_SECONDS = 10.0

Result = TypeVar("Result")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

on_both_loops = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
of_both_versions = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"]
)


def run(new_loop: LoopFactory, body: Coroutine[object, object, Result]) -> Result:
    """Run a test's body on this kind of loop."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(asyncio.wait_for(body, 30))


def client_pair(
    authority: Authority | None,
    name: str,
    *,
    ends: timedelta = timedelta(hours=1),
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> KeyPair:
    """A client's certificate, from an authority or else self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    issuer, signer = subject, key
    if authority is not None:
        issuer = x509.load_pem_x509_certificate(authority.bundle).subject
        loaded = serialization.load_pem_private_key(authority.pair.key, None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer = loaded
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + ends)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def trusting(
    bundle: bytes, pair: KeyPair | None = None, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """A client that trusts a bundle, may have a certificate, and verifies the name."""
    context = ssl.create_default_context(cadata=bundle.decode())
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if pair is not None:
        with tempfile.TemporaryDirectory() as folder:
            both = Path(folder, "pair.pem")
            both.write_bytes(pair.certificate + pair.key)
            context.load_cert_chain(both)
    return context


def vouching(bundle: bytes) -> Verifier:
    """Verifies clients with a bundle's authorities."""
    authorities = ClientCAs(bundle)
    return lambda peer: authorities.verify(peer.chain, datetime.now(UTC)) is not None


async def peer_name(request: web.BaseRequest) -> Reply:
    """Return the common name of the client's certificate; "nobody" without a valid one."""
    assert request.transport is not None
    connection: ssl.SSLObject = request.transport.get_extra_info("ssl_object")
    shown = connection.getpeercert(binary_form=True)
    if shown is None:
        return Reply(b"nobody")
    (name,) = x509.load_der_x509_certificate(shown).subject
    return Reply(str(name.value).encode())


class Seen(Struct, frozen=True):
    """A client's view of one connection.

    Attributes:
        text: the answer.
        session: can be resumed.
        resumed: whether one was.
        version: the TLS version.
        cipher: the cipher in use.
        protocol: the protocol agreed on by ALPN.
        serial: the server certificate's serial number.
    """

    text: str
    session: ssl.SSLSession | None
    resumed: bool
    version: str
    cipher: str
    protocol: str
    serial: int


async def ask(
    port: int,
    context: ssl.SSLContext,
    *,
    session: ssl.SSLSession | None = None,
    name: str = HOST,
) -> Seen:
    """Make one request on its own connection."""
    return await asyncio.to_thread(_ask, port, context, session, name)


def _ask(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None, name: str) -> Seen:
    with (
        socket.create_connection((HOST, port), PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name, session=session) as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := tls.recv(65536):
            answer += chunk
        if not answer:
            raise ConnectionResetError("the connection was closed without an answer")
        certificate = tls.getpeercert(binary_form=True)
        cipher = tls.cipher()
        assert certificate is not None
        assert cipher is not None
        return Seen(
            text=answer.decode().rpartition("\r\n\r\n")[2],
            session=tls.session,
            resumed=bool(tls.session_reused),
            version=tls.version() or "",
            cipher=cipher[0],
            protocol=tls.selected_alpn_protocol() or "",
            serial=x509.load_der_x509_certificate(certificate).serial_number,
        )


def server(limits: Limits | None = None) -> LimitedServer:
    """A server that returns the caller's name."""
    return LimitedServer(peer_name) if limits is None else LimitedServer(peer_name, limits=limits)


def cut(writer: asyncio.StreamWriter) -> None:
    """End a connection at once.

    It is not closed before: Python 3.11.2 cannot abort what was lost and then closed.
    """
    writer.transport.abort()
