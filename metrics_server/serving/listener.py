"""The TLS context of the listening socket, whose parts change while it listens."""

import ssl
from datetime import datetime
from typing import Self

from metrics_server.serving.authority import KeyPair
from metrics_server.serving.certificates import context_from_pair
from metrics_server.serving.pairs import Validity, validity


class ListeningContext(ssl.SSLContext):
    """A context for a server's socket that serves each new connection with what is up to date.

    It does nothing by itself: event loops ask it for the TLS side of each connection
    (`wrap_bio`), and it hands them that of an inner context. A change makes another inner
    context, so that nothing of the one before lives on, neither an authority nor a session.
    Connections that are open stay as they are.

    OpenSSL's own way, a callback that sets another context for a ClientHello, would not do: a
    TLS 1.2 session is looked up before it is called, so that a peer of an authority that is gone
    would be let in again.

    Args:
        pair: what is served with, at first.

    Raises:
        ConfigurationError: the pair cannot be used.
    """

    _pair: KeyPair
    _client_cas: bytes
    _current: ssl.SSLContext
    _validity: Validity

    def __new__(cls, pair: KeyPair) -> Self:
        """A context that is no part of any connection."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made._change(pair, b"")
        return made

    def __init__(self, pair: KeyPair) -> None:
        """All is done in `__new__`, as in every SSLContext."""

    @property
    def expires(self) -> datetime:
        """When the serving certificate is valid no more."""
        return self._validity.end

    def use_pair(self, pair: KeyPair) -> None:
        """Serve new connections with another pair.

        Raises:
            ConfigurationError: it cannot be used; the one before stays.
        """
        self._change(pair, self._client_cas)

    def use_client_cas(self, client_cas: bytes) -> None:
        """Verify the certificates of new connections' clients under these authorities, PEM.

        A client need not show one; one that does not verify ends the handshake. Where there is
        no authority, clients are not asked.

        Raises:
            ConfigurationError: they cannot be used; those before stay.
        """
        self._change(self._pair, client_cas)

    def complaint(self, now: datetime) -> str | None:
        """What is wrong with the serving certificate at a time; None while all is well."""
        return self._validity.complaint(now)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - as in SSLContext
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """The TLS side of a new connection."""
        if self._current.session_stats()["number"]:
            # Python cannot tell OpenSSL to keep no session of TLS 1.2, so it goes with its context.
            self._change(self._pair, self._client_cas)
        return self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def _change(self, pair: KeyPair, client_cas: bytes) -> None:
        self._current = context_from_pair(pair, client_cas)
        self._validity = validity(pair.certificate)
        self._pair, self._client_cas = pair, client_cas
