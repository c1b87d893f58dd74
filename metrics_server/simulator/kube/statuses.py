"""The Statuses with which the Kubernetes API answers failed requests."""

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

# metav1.StatusReason by HTTP status; some failures have a more specific one.
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class StatusDetails(Struct, frozen=True, omit_defaults=True):
    """The object that a failure is about.

    Attributes:
        name: the object's name.
        group: the API group of its resource.
        kind: its resource, or its kind.
    """

    name: str = ""
    group: str = ""
    kind: str = ""


class Status(Struct, frozen=True, rename="camel", kw_only=True):
    """The metav1.Status of a failure, with its fields in Go's order."""

    kind: str = "Status"
    api_version: str = "v1"
    metadata: dict[str, str] = {}
    status: str = "Failure"
    message: str
    reason: str | UnsetType = UNSET
    details: StatusDetails | UnsetType = UNSET
    code: int


class StatusError(Exception):
    """Raised to answer a request with a Status.

    Attributes:
        status: the answer.
    """

    def __init__(
        self,
        code: int,
        message: str,
        details: StatusDetails | None = None,
        *,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.status = Status(
            message=message,
            reason=reason or _REASONS.get(code, UNSET),
            details=details or UNSET,
            code=code,
        )


def response_of(error: StatusError) -> web.Response:
    """Return an error as an answer."""
    status = error.status
    return web.Response(
        body=msgspec.json.encode(status), status=status.code, content_type="application/json"
    )


def not_served() -> StatusError:
    """Return the answer for a path that does not exist."""
    return StatusError(404, "the server could not find the requested resource")


def method_not_allowed() -> StatusError:
    """Return the answer to a method that a resource does not have."""
    return StatusError(405, "the server does not allow this method on the requested resource")


def unsupported_media_type(accepted: str) -> StatusError:
    """Return the answer to a body of another media type than the accepted one."""
    return StatusError(
        415,
        "the body of the request was in an unknown format - accepted media types include: "
        f"{accepted}",
    )
