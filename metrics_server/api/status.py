"""metav1.Status: how errors look to Kubernetes and to kubectl."""

from collections.abc import Mapping

from msgspec import UNSET, Struct, UnsetType

from metrics_server.api.types import ListMeta
from metrics_server.errors import RequestError

MAX_MESSAGE_LENGTH = 4096
"""Characters in a message."""

# metav1.StatusReason by HTTP status.
REASONS: Mapping[int, str] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class StatusCause(Struct, frozen=True, omit_defaults=True):
    """metav1.StatusCause: one of several things that are wrong.

    Attributes:
        reason: a metav1.CauseType, such as FieldValueInvalid.
        message: a sentence for a person.
        field: which field or parameter it is about.
    """

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(Struct, frozen=True, rename="camel", omit_defaults=True):
    """metav1.StatusDetails: what the error is about.

    Attributes:
        name: the object's name.
        group: the API group of its kind.
        kind: its kind, or its resource where that is what is known.
        causes: what is wrong, where it is more than one thing.
        retry_after_seconds: when to ask again.
    """

    name: str = ""
    group: str = ""
    kind: str = ""
    causes: tuple[StatusCause, ...] = ()
    retry_after_seconds: int = 0


class Status(Struct, frozen=True, rename="camel", kw_only=True):
    """metav1.Status of a failure.

    Attributes:
        kind: Status.
        api_version: v1.
        metadata: empty.
        status: Failure.
        message: a sentence for a person; `kubectl describe hpa` shows it word for word.
        reason: a metav1.StatusReason; omitted if none fits the code.
        details: what the error is about; omitted if there is nothing to add.
        code: the HTTP status.
    """

    kind: str = "Status"
    api_version: str = "v1"
    metadata: ListMeta = ListMeta()
    status: str = "Failure"
    message: str
    reason: str | UnsetType = UNSET
    details: StatusDetails | UnsetType = UNSET
    code: int


def failure(code: int, message: str, details: StatusDetails | UnsetType = UNSET) -> Status:
    """The Status for an HTTP status of 400 or above, with the reason that goes with it."""
    reason = REASONS.get(code, UNSET)
    return Status(message=_encodable(message), reason=reason, details=details, code=code)


def status_of(error: RequestError, details: StatusDetails | UnsetType = UNSET) -> Status:
    """The Status that answers a request with an error."""
    return failure(error.code, str(error), details)


def _encodable(text: str) -> str:
    """A text as UTF-8, even if it quotes a header with lone surrogates.

    It is truncated if it is long.
    """
    if len(text) > MAX_MESSAGE_LENGTH:
        text = f"{text[:MAX_MESSAGE_LENGTH]}…"
    return text.encode(errors="backslashreplace").decode()
