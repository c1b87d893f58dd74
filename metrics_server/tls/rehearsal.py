"""A handshake in memory, to find out whether clients can use a serving pair before they try."""

import ssl

from OpenSSL import SSL

from metrics_server.errors import ConfigurationError
from metrics_server.tls.openssl import ServerTls

# More than any handshake takes, to detect two sides that wait for each other.
_MAX_TURNS = 10


def rehearse(context: SSL.Context) -> None:
    """Test a handshake with a client that verifies nothing.

    A pair may load although no client can connect with it: its key may use a curve that TLS does
    not offer, or its chain may be longer than clients accept.

    Raises:
        ConfigurationError: the handshake fails; the message says why.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ServerTls(context, to_server, to_client, lambda _: False)
    client = _client().wrap_bio(to_client, to_server)
    try:
        for _ in range(_MAX_TURNS):
            if _is_done(client) & _is_done(server):
                return
    except ssl.SSLError as error:
        why = (error.reason or str(error)).replace("_", " ").lower()
        raise ConfigurationError(f"no client could connect with the serving pair: {why}") from error
    raise ConfigurationError("no client could connect with the serving pair")


def _client() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # This tests only whether the pair works in TLS at all; clients verify the identity.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _is_done(side: ssl.SSLObject) -> bool:
    """Continue one side of the handshake, and return whether it has finished."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
