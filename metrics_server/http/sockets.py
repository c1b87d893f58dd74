"""Connections: how many there can be, and why one failed."""

import os
import resource
import ssl
from contextlib import suppress

import aiohttp


def allow_open_files() -> None:
    """Have as many open files as the system allows, as programs in Go do.

    A connection to every exporter is kept, and containers often begin with a limit of 1024.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says that there is no limit, and refuses to set none.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def why(error: Exception) -> str:
    """The cause of an error of aiohttp, in words for a person, without the objects it mentions."""
    cause: Exception = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    # Of TLS and of names, the numbers are no errno.
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError):
        number = cause.errno or 0
        if number > 0:
            return os.strerror(number)
    return str(cause) or repr(cause)
