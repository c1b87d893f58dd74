"""Serving certificates, on a real TLS socket."""

import asyncio
import ssl
from pathlib import Path, PosixPath

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from metrics_server.errors import ConfigurationError
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair, read_pair


async def handshake(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> str:
    """The TLS version of a connection to 127.0.0.1."""

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=server_context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context)
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        version = connection.version()
        writer.close()
        await writer.wait_closed()
    return version or ""


async def serving(authority: Authority, *names: str) -> ssl.SSLContext:
    """A server's context, with a pair for these names."""
    return await asyncio.to_thread(context_from_pair, authority.issue(names))


def trusting(authority: Authority) -> ssl.SSLContext:
    """A client that trusts one authority and verifies the name."""
    return ssl.create_default_context(cadata=authority.bundle.decode())


async def test_a_pair_of_ours_verifies_strictly() -> None:
    """A client that trusts the authority, and checks RFC 5280 strictly, accepts the pair."""
    authority = Authority("test-ca")
    server = await serving(authority, "localhost", "127.0.0.1")
    client = trusting(authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert await handshake(server, client) == "TLSv1.3"


async def test_another_authority_is_not_trusted() -> None:
    """The same names from an authority unknown to the client are rejected."""
    server = await serving(Authority("test-ca"), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(server, trusting(Authority("test-ca")))


async def test_another_name_is_refused() -> None:
    """A pair is valid only for the names that it was made for."""
    authority = Authority("test-ca")
    server = await serving(authority, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        await handshake(server, trusting(authority))


class Swapped(PosixPath):
    """A file that is replaced, with its key, right after its first read."""

    def read_bytes(self) -> bytes:
        """The content before the replacement."""
        before = super().read_bytes()
        for old in self.parent.iterdir():
            if (new := old.with_name(f"{old.name}.new")).exists():
                new.replace(old)
        return before


def test_files_that_change_while_they_are_read(tmp_path: Path) -> None:
    """A certificate and key from different pairs are read again, not rejected."""
    authority = Authority("test-ca")
    pairs = authority.issue(["localhost"]), authority.issue(["localhost"])
    for pair, end in zip(pairs, ("", ".new"), strict=True):
        (tmp_path / f"tls.crt{end}").write_bytes(pair.certificate)
        (tmp_path / f"tls.key{end}").write_bytes(pair.key)
    assert read_pair(Swapped(tmp_path / "tls.crt"), tmp_path / "tls.key") == pairs[1]


def test_files_that_do_not_match_are_refused(tmp_path: Path) -> None:
    """A key for another certificate is an error that names both flags."""
    authority = Authority("test-ca")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(authority.issue(["a"]).certificate)
    key.write_bytes(authority.issue(["b"]).key)
    with pytest.raises(ConfigurationError, match=r"--tls-cert-file .* --tls-private-key-file .*"):
        read_pair(certificate, key)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A missing file is a ConfigurationError, not an OSError."""
    with pytest.raises(ConfigurationError, match="No such file"):
        read_pair(tmp_path / "tls.crt", tmp_path / "tls.key")


def test_an_encrypted_key_is_refused_without_a_prompt(tmp_path: Path) -> None:
    """A server cannot prompt for a passphrase."""
    pair = Authority("test-ca").issue(["a"])
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(pair.certificate)
    private = serialization.load_pem_private_key(pair.key, None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigurationError, match="is encrypted"):
        read_pair(certificate, key)


def test_a_key_is_not_shown() -> None:
    """A logged pair does not reveal its key."""
    pair = Authority("test-ca").issue(["a"])
    assert "PRIVATE" not in f"{pair!r} {pair}"


def test_the_names_are_in_the_certificate() -> None:
    """DNS names and addresses are different kinds of alternative names."""
    pair = Authority("test-ca").issue(["svc.ns.svc", "127.0.0.1", "::1"])
    names = (
        x509.load_pem_x509_certificate(pair.certificate)
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["svc.ns.svc"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
