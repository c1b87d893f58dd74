"""A handshake in memory, to find out whether clients can use a serving pair before they have to."""

import ssl

from OpenSSL import SSL

from metrics_server.errors import ConfigurationError
from metrics_server.tls.openssl import ServerTls

# More than any handshake takes, so that two sides that wait for each other are noticed.
_MAX_TURNS = 10


def rehearse(context: SSL.Context) -> None:
    """Shake hands with a client that verifies nothing.

    A pair may load though no client can be served with it: its key may be of a curve that TLS does
    not offer, or its chain longer than clients read.

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
    # What is found out is whether the pair works in TLS at all; whose it is, clients verify.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _is_done(side: ssl.SSLObject) -> bool:
    """Go on with one side; whether it has finished."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
