"""The wire format of the Kubernetes API's lists and watches, as far as a reflector needs it."""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

Change = Literal["ADDED", "MODIFIED", "DELETED"]

# msgspec raises a ValueError for text that is not UTF-8.
MALFORMED = (msgspec.DecodeError, ValueError)


class ListMeta(Struct, rename="camel"):
    """The metadata of a list; `next` is the token of the next page."""

    resource_version: str
    next: str = msgspec.field(default="", name="continue")


class List(Struct):
    """A page of a list."""

    metadata: ListMeta
    items: list[Raw] | None = None


class Event(Struct):
    """A line of a watch."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: Raw


class ObjectMeta(Struct, rename="camel"):
    """The metadata of any object."""

    resource_version: str


class Object(Struct):
    """Any object."""

    metadata: ObjectMeta


class Status(Struct):
    """The object of an ERROR event."""

    message: str = ""
    code: int = 500


decode_list = msgspec.json.Decoder(List).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_object = msgspec.json.Decoder(Object).decode
decode_status = msgspec.json.Decoder(Status).decode


def is_before(version: str, other: str) -> bool:
    """Whether a version is older than another, where both are numbers, as kube-apiserver's are."""
    return version.isdecimal() and other.isdecimal() and int(version) < int(other)
