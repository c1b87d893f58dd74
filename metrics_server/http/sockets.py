"""Sockets: how many there can be, how one notices a dead peer, and why one failed."""

import asyncio
import os
import resource
import socket
import ssl
from contextlib import suppress
from weakref import WeakSet

import aiohttp

# How many times the event loop must run to close a TLS connection, with some to spare.
_CLOSING_STEPS = 8
# OpenSSL's names for an answer that is not TLS.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")


def allow_open_files() -> None:
    """Raise the limit of open files to what the system allows, as Go programs do.

    Connections to all exporters are kept, and containers often start with a limit of 1024.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS reports no limit, and refuses to set that.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def why(error: Exception) -> str:
    """Return the cause of an aiohttp error in plain words, without the objects it mentions."""
    cause: Exception = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    elif isinstance(error.__cause__, ssl.SSLError):
        # An alert after the handshake, such as from a server that requires a client certificate.
        cause = error.__cause__
    match cause:
        case ssl.SSLError(reason=str()):
            return _why_tls(cause)
        case socket.gaierror(strerror=str()):
            return f"the host name cannot be resolved: {cause.strerror}"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
    return str(cause) or repr(cause)


def _why_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if error.reason in _NOT_TLS:
        return "there is no TLS at this port: is it http rather than https?"
    return f"TLS failed: {error.reason.replace('_', ' ').lower()}"


class KeepaliveSockets:
    """Makes sockets that notice a dead peer within a minute, and closes those that are left over.

    A watch sends nothing, so without keepalive probes it would not notice a dead peer before its
    own timeout, and the pods would become stale. client-go uses HTTP/2 pings for this.
    """

    def __init__(self) -> None:
        self._made: WeakSet[socket.socket] = WeakSet()

    def __call__(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """Return a new socket."""
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._made.add(made)
        return made

    async def close(self) -> None:
        """Close the connections that are still open.

        aiohttp ends the TLS of a cancelled request, and does not wait for the peer to do the same.
        """
        for left in self._made:
            # The event loop reads the end of the connection, and closes it.
            with suppress(OSError):
                left.shutdown(socket.SHUT_RDWR)
        for _ in range(_CLOSING_STEPS):
            await asyncio.sleep(0)
