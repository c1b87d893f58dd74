"""The TLS context of the listener, whose certificate can be replaced while it runs."""

import ssl
from datetime import datetime
from typing import Self

from OpenSSL import SSL

from metrics_server.tls.authority import KeyPair
from metrics_server.tls.openssl import ServerTls, Verifier, server_context
from metrics_server.tls.pairs import Validity, validity
from metrics_server.tls.peer import PeerCertificates
from metrics_server.tls.rehearsal import rehearse


class ListeningContext(ssl.SSLContext):
    """A context for a server's socket that serves each new connection with the current pair.

    Event loops call `wrap_bio` for the TLS side of each connection, and get a `ServerTls` of the
    current inner context. A new pair gets a new inner context, so new connections see nothing of
    the old one. Open connections are not affected.

    Args:
        pair: the initial pair.

    Raises:
        ConfigurationError: the pair is unusable.
    """

    _current: SSL.Context
    _validity: Validity
    _verifies: Verifier

    def __new__(cls, pair: KeyPair) -> Self:
        """Create the context, which cannot be done in `__init__`."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made._verifies = _none_verifies
        made.use_pair(pair)
        return made

    def __init__(self, pair: KeyPair) -> None:
        """Do nothing: like every SSLContext, it is created in `__new__`."""

    @property
    def expires(self) -> datetime:
        """When the serving certificate expires."""
        return self._validity.end

    def use_pair(self, pair: KeyPair) -> None:
        """Serve new connections with another pair, after testing a handshake with it.

        It takes a few milliseconds, and may be called in a thread.

        Raises:
            ConfigurationError: the pair is unusable; the current one stays in use.
        """
        context = server_context(pair)
        rehearse(context)
        self._validity = validity(pair.certificate)
        self._current = context

    def use_verifier(self, verifies: Verifier) -> None:
        """Set the function that verifies clients' certificates; until then none verifies.

        It affects only what `getpeercert` returns: no certificate fails a handshake.
        """
        self._verifies = verifies

    def problem(self, now: datetime) -> str | None:
        """Return what is wrong with the serving certificate at a time; None if nothing is."""
        return self._validity.problem(now)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: ARG002, FBT001, FBT002 - as in SSLContext
        server_hostname: str | bytes | None = None,  # noqa: ARG002
        session: ssl.SSLSession | None = None,  # noqa: ARG002
    ) -> ssl.SSLObject:
        """Return the TLS side of a new connection."""
        return ServerTls(self._current, incoming, outgoing, self._verifies)


def _none_verifies(_: PeerCertificates) -> bool:
    return False
