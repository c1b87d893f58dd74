"""The TLS context of the listening socket, whose certificate changes while it listens."""

import ssl
from datetime import datetime
from typing import Self

from OpenSSL import SSL

from metrics_server.tls.authority import KeyPair
from metrics_server.tls.openssl import ServerTls, Vouched, server_context
from metrics_server.tls.pairs import Validity, validity
from metrics_server.tls.peer import PeerCertificates
from metrics_server.tls.rehearsal import rehearse


class ListeningContext(ssl.SSLContext):
    """A context for a server's socket that serves each new connection with the current pair.

    Event loops ask it for the TLS side of each connection (`wrap_bio`), and get a `ServerTls` of
    the current inner context. A new pair makes a new inner context, so nothing of the old one
    reaches a new connection. Connections that are open stay as they are.

    Args:
        pair: what is served with, at first.

    Raises:
        ConfigurationError: the pair cannot be used.
    """

    _current: SSL.Context
    _validity: Validity
    _vouched: Vouched

    def __new__(cls, pair: KeyPair) -> Self:
        """A context that is no part of any connection."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made._vouched = _nobody_vouches
        made.use_pair(pair)
        return made

    def __init__(self, pair: KeyPair) -> None:
        """All is done in `__new__`, as in every SSLContext."""

    @property
    def expires(self) -> datetime:
        """When the serving certificate is valid no more."""
        return self._validity.end

    def use_pair(self, pair: KeyPair) -> None:
        """Serve new connections with another pair, once a handshake with it has succeeded.

        It takes some milliseconds, and may be called in a thread.

        Raises:
            ConfigurationError: it cannot be used; the one before stays.
        """
        context = server_context(pair)
        rehearse(context)
        self._validity = validity(pair.certificate)
        self._current = context

    def use_verifier(self, vouched: Vouched) -> None:
        """Let a function say which clients' certificates verify; until then none does.

        It decides nothing but what `getpeercert` returns: no certificate ends a handshake.
        """
        self._vouched = vouched

    def complaint(self, now: datetime) -> str | None:
        """What is wrong with the serving certificate at a time; None while all is well."""
        return self._validity.complaint(now)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: ARG002, FBT001, FBT002 - as in SSLContext
        server_hostname: str | bytes | None = None,  # noqa: ARG002
        session: ssl.SSLSession | None = None,  # noqa: ARG002
    ) -> ssl.SSLObject:
        """The TLS side of a new connection."""
        return ServerTls(self._current, incoming, outgoing, self._vouched)


def _nobody_vouches(_: PeerCertificates) -> bool:
    return False
