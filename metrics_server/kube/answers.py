"""What an answer from the Kubernetes API says, or why there is none."""

import aiohttp
import msgspec
from msgspec import Struct

from metrics_server.common.numbers import is_digits
from metrics_server.errors import KubernetesError
from metrics_server.http.sockets import why

UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError)
"""The errors that mean that no answer came."""

# A Retry-After with more digits is nonsense.
_MAX_DIGITS = 6


class Fetched(Struct, frozen=True):
    """An answer of any status.

    Attributes:
        status: the HTTP status.
        body: the body.
        date: the Date header; "" without one.
    """

    status: int
    body: bytes
    date: str = ""


class _Status(Struct):
    message: str = ""


def status_message(body: bytes) -> str:
    """Return the message of a Status; "" if the body is not one."""
    try:
        return msgspec.json.decode(body, type=_Status).message
    except (msgspec.DecodeError, ValueError):
        return ""


async def refusal(host: str, response: aiohttp.ClientResponse) -> KubernetesError:
    """Return the error of an answer that is not a 2xx.

    Args:
        host: the URL of the API server.
        response: the answer.
    """
    try:
        message = status_message(await response.read())
    except UNREACHABLE:
        message = ""
    text = message or f"{host} answered {response.status} {response.reason}"
    return KubernetesError(text, response.status, _retry_after(response))


def unreachable(host: str, error: Exception) -> KubernetesError:
    """Return the error of a request without an answer."""
    match error:
        case TimeoutError():
            text = "it did not answer in time"
        case aiohttp.ClientPayloadError():
            text = "the connection closed before the end of the answer"
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            text = "this is not a valid URL"
        case aiohttp.TooManyRedirects():
            text = "it keeps redirecting"
        case aiohttp.ClientResponseError():
            text = "it does not send valid HTTP"
        case _:
            text = why(error)
    return KubernetesError(f"the Kubernetes API at {host} cannot be reached: {text}")


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Return the Retry-After in seconds; the Kubernetes API never sends a date."""
    text = response.headers.get("Retry-After", "")
    return float(text) if is_digits(text) and len(text) <= _MAX_DIGITS else None
