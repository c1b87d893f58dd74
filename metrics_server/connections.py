"""Why a connection failed, in words for a person."""

import os
import ssl

import aiohttp


def why(error: Exception) -> str:
    """The cause of an error of aiohttp, or of one below it, without the objects it mentions."""
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
