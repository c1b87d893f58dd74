"""The TLS side of one connection, with pyOpenSSL, which can accept any client certificate.

Servers built on k8s.io/apiserver request a certificate, accept any, and verify it later. Python's
own `ssl` cannot do that: it verifies during the handshake and closes the connection on failure, so
a client with a valid token and an unknown certificate never gets to send the token, and OpenSSL
alone decides which of two CAs of the same name it tries. pyOpenSSL lets us accept the certificate
here; `auth.client_certificates` verifies it afterwards. The handshake still proves that the client
has the certificate's key.
"""

import ssl
from collections.abc import Callable
from typing import NoReturn

from cryptography import x509
from OpenSSL import SSL, crypto

from metrics_server.errors import ConfigurationError
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.pairs import signing_key
from metrics_server.tls.peer import PeerCertificates

# Only forward secrecy and authenticated encryption; TLS 1.3 has nothing else.
_TLS_1_2_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_PROTOCOL = b"http/1.1"
# The longest chain that OpenSSL follows to verify a client's certificate: the result is ignored,
# but the signatures cost time.
_MAX_DEPTH = 8
# A TLS record: its content types, major version, size of the header, of the data, and in total.
_KINDS = range(20, 24)
_MAJOR_VERSION = 3
_HEADER_BYTES = 5
_DATA_BYTES = 16 * 1024
_RECORD_BYTES = _HEADER_BYTES + _DATA_BYTES + 2048
# What encryption adds to a write, in the worst case.
_OVERHEAD_BYTES = 1024

Verifier = Callable[[PeerCertificates], bool]
"""Whether a peer's certificates verify now."""


def server_context(pair: KeyPair) -> SSL.Context:
    """Return the context of new connections that are served with a pair.

    Sessions are never resumed: every connection presents its certificate again.

    Raises:
        ConfigurationError: the pair is unusable.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(_TLS_1_2_CIPHERS)
    context.set_alpn_select_callback(_choose_protocol)
    context.set_verify(SSL.VERIFY_PEER, _take_any_certificate)
    context.set_verify_depth(_MAX_DEPTH)
    try:
        own, *others = x509.load_pem_x509_certificates(pair.certificate)
        context.use_certificate(own)
        for other in others:
            context.add_extra_chain_cert(other)
        context.use_privatekey(signing_key(pair))
        context.check_privatekey()
    except (SSL.Error, ValueError) as error:
        text = _text(error) if isinstance(error, SSL.Error) else str(error)
        raise ConfigurationError(f"the serving pair cannot be used: {text}") from error
    return context


class _Connection(SSL.Connection):
    """Looks up an error after failed calls only. Unused if pyOpenSSL renames its private method."""

    def _raise_ssl_error(self, ssl: object, result: int) -> None:
        if result <= 0:
            super()._raise_ssl_error(ssl, result)


class ServerTls(ssl.SSLObject):
    """The server's side of one connection, as event loops use an `ssl.SSLObject`.

    Args:
        context: as returned by `server_context`.
        incoming: bytes received from the peer.
        outgoing: bytes to send to the peer.
        verifies: whether a peer's certificates verify, so that `getpeercert` may return the first.
    """

    def __init__(
        self,
        context: SSL.Context,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        verifies: Verifier,
    ) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._verifies = verifies
        self._tls = _Connection(context, None)
        self._tls.set_accept_state()
        self._peer: PeerCertificates | None = None
        self._is_peer_known = False
        # Bytes received but not yet passed to OpenSSL, from an offset on: mostly part of a record.
        self._rest = b""
        self._offset = 0
        # Whether OpenSSL may have something to read before it is fed again.
        self._is_fed = False
        # Whether there may be more to read although `incoming` is empty.
        self._has_more = False

    @property
    def peer(self) -> PeerCertificates | None:
        """The certificates that the peer presented, unverified; None without any."""
        if not self._is_peer_known:
            self._is_peer_known = True
            own = self._tls.get_peer_certificate()
            if own is not None:
                chain = [own, *(self._tls.get_peer_cert_chain() or ())]
                ders = [crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in chain]
                self._peer = PeerCertificates(tuple(dict.fromkeys(ders)))
        return self._peer

    def getpeercert(self, binary_form: bool = False) -> bytes | None:  # type: ignore[override] # noqa: FBT001, FBT002 - as in SSLObject
        """Return the peer's own certificate, DER; None without one, or if it does not verify.

        So callers of the standard method never get a certificate that anybody could have made.
        """
        peer = self.peer
        return peer.chain[0] if binary_form and peer and self._verifies(peer) else None

    def do_handshake(self) -> None:
        """Continue the handshake as far as the received bytes allow."""
        try:
            while True:
                try:
                    self._tls.do_handshake()
                except SSL.WantReadError:
                    if not self._feed():
                        raise
                else:
                    # The first request may have arrived with the end of the handshake.
                    self._has_more = True
                    return
        except SSL.Error as error:
            _translate(error)
        finally:
            self._flush()

    def read(self, len: int = 1024, buffer: bytearray | None = None) -> bytes | int:  # type: ignore[override] # noqa: A002 - as in SSLObject
        """Return what the peer has sent, up to `len` bytes; b"" after its close_notify."""
        data = self._receive(len)
        if buffer is None:
            return data
        size = memoryview(data).nbytes
        buffer[:size] = data
        return size

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Send some of the data, and return how many bytes."""
        try:
            sent = self._tls.send(data)
        except SSL.Error as error:
            self._flush()
            _translate(error)
        self._flush(sent + _OVERHEAD_BYTES)
        return sent

    def unwrap(self) -> None:
        """Send a close_notify, and wait for the peer's."""
        try:
            while not self._tls.shutdown():
                if not self._feed():
                    raise SSL.WantReadError
        except SSL.Error as error:
            _translate(error)
        finally:
            self._flush()

    def pending(self) -> int:
        """Return 1 if there may be more to read although `incoming` is empty, else 0."""
        return int(self._has_more)

    def cipher(self) -> tuple[str, str, int] | None:
        """Return the cipher in use: its name, the TLS version that defines it, its secret bits."""
        name, version = self._tls.get_cipher_name(), self._tls.get_cipher_version()
        return (name, version, self._tls.get_cipher_bits() or 0) if name and version else None

    def compression(self) -> None:
        """Return None: compression is never used."""

    def version(self) -> str:
        """Return the TLS version."""
        return self._tls.get_protocol_version_name()

    def selected_alpn_protocol(self) -> str | None:
        """Return the negotiated protocol."""
        return self._tls.get_alpn_proto_negotiated().decode() or None

    def _receive(self, size: int) -> bytes:
        chunks: list[bytes] = []
        self._has_more = True
        while size > 0:
            if not (self._is_fed or self._feed()):
                self._has_more = False
                break
            most = min(size, _DATA_BYTES)
            try:
                chunk = self._tls.recv(most)
            except SSL.WantReadError:
                self._is_fed = False  # a record without data
                continue
            except SSL.ZeroReturnError:
                if not chunks:
                    return b""
                break  # the next call gets the same error
            except SSL.Error as error:
                if not chunks:
                    self._flush()
                    _translate(error)
                break  # likewise
            # Most records are read completely, which saves asking OpenSSL for more in vain.
            self._is_fed = len(chunk) == most
            chunks.append(chunk)
            size -= len(chunk)
        if not chunks:
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "want to read")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _feed(self) -> bool:
        """Pass the next TLS record to OpenSSL; return False if none is complete.

        It does not pass everything at once, as OpenSSL's own buffer would grow, and stays that
        large for as long as the connection is open.
        """
        if self._incoming.pending:
            self._rest = self._rest[self._offset :] + self._incoming.read()
            self._offset = 0
        rest, begin = self._rest, self._offset
        left = len(rest) - begin
        if left < _HEADER_BYTES:
            return False
        size = _HEADER_BYTES + (rest[begin + 3] << 8 | rest[begin + 4])
        if size > _RECORD_BYTES or rest[begin] not in _KINDS or rest[begin + 1] != _MAJOR_VERSION:
            size = left  # it is not a record, so OpenSSL raises an error at once
        if left < size:
            return False
        if left == size:
            self._rest, self._offset = b"", 0
        else:
            self._offset = begin + size
        self._tls.bio_write(rest[begin : begin + size])
        self._is_fed = True
        return True

    def _flush(self, size: int = _DATA_BYTES) -> None:
        """Move the bytes to send from OpenSSL to `outgoing`."""
        try:
            while len(piece := self._tls.bio_read(size)) > 0:
                self._outgoing.write(piece)
                if len(piece) < size:
                    return
        except SSL.WantReadError:
            return


def _take_any_certificate(*_: object) -> bool:
    return True


def _choose_protocol(
    _: SSL.Connection, offered: list[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    return _PROTOCOL if _PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _translate(error: SSL.Error) -> NoReturn:
    """Raise the corresponding error of `ssl`, as event loops handle only those."""
    match error:
        case SSL.WantReadError():
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "want to read") from None
        case SSL.WantWriteError():
            raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "want to write") from None
        case SSL.ZeroReturnError():
            raise ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "closed by the peer") from None
        case SSL.SysCallError():
            raise ssl.SSLEOFError(
                ssl.SSL_ERROR_EOF, "the connection was closed without close_notify"
            ) from None
    failure = ssl.SSLError(ssl.SSL_ERROR_SSL, _text(error))
    failure.library, failure.reason = "SSL", _text(error)
    raise failure from None


def _text(error: SSL.Error) -> str:
    """Return the last message of an OpenSSL error."""
    match error.args:
        case ([*_, (_, _, str(reason))],):
            return reason
    return str(error) or type(error).__name__
