"""The wire format of the Kubernetes API's lists and watches, as far as a reflector needs it."""

from http import HTTPStatus
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from metrics_server.common.numbers import parse_digits
from metrics_server.errors import KubernetesError

Change = Literal["ADDED", "MODIFIED", "DELETED"]

# msgspec raises a ValueError for text that is not UTF-8.
MALFORMED = (msgspec.DecodeError, ValueError)

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends the initial events of a streamed list."""


class ListMeta(Struct, rename="camel"):
    """The metadata of a list; `next` is the token of the next page."""

    resource_version: str
    next: str = msgspec.field(default="", name="continue")


class List(Struct):
    """A page of a list."""

    metadata: ListMeta
    items: list[Raw] | None = None


class Event(Struct):
    """A line of a watch, unless it is an error."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Raw


class _Line(Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: Raw


class ObjectMeta(Struct, rename="camel"):
    """The metadata of any object."""

    resource_version: str
    annotations: dict[str, Raw] | None = None


class Object(Struct):
    """Any object."""

    metadata: ObjectMeta


class Status(Struct):
    """The object of an ERROR event."""

    message: str = ""
    code: int = 500


decode_list = msgspec.json.Decoder(List).decode
decode_object = msgspec.json.Decoder(Object).decode
_decode_line = msgspec.json.Decoder(_Line).decode
_decode_status = msgspec.json.Decoder(Status).decode


def read_event(line: bytes, path: str) -> Event:
    """Return the event on a line of a watch.

    Args:
        line: the line.
        path: of the collection, for messages.

    Raises:
        KubernetesError: it is an error, or cannot be decoded.
    """
    try:
        found = _decode_line(line)
        if found.type != "ERROR":
            return Event(found.type, found.object)
        status = _decode_status(found.object)
    except MALFORMED as error:
        raise malformed(path, error) from error
    raise KubernetesError(status.message, status.code)


def malformed(path: str, error: Exception) -> KubernetesError:
    """Return the error of an event that cannot be decoded."""
    return KubernetesError(f"a watch of {path} sent a malformed event: {error}", HTTPStatus.OK)


def version_of(event: Event, path: str, after: str) -> str:
    """Return the version of the cluster at an event.

    Args:
        event: the event.
        path: of the collection, for messages.
        after: the version of the event before.

    Raises:
        KubernetesError: it has none, or an older one.
    """
    try:
        version = decode_object(event.object).metadata.resource_version
    except MALFORMED as error:
        raise malformed(path, error) from error
    if _is_before(version, after):
        message = f"a watch of {path} went back from version {after} to {version}"
        raise KubernetesError(message, HTTPStatus.OK)
    return version


def _is_before(version: str, other: str) -> bool:
    """Whether a version is older than another, where both are numbers, as kube-apiserver's are."""
    one, two = parse_digits(version), parse_digits(other)
    return one is not None and two is not None and one < two
