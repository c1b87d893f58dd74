"""The common parts of the places for the CA bundle, `api_service` and `config_map`."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.errors import KubernetesError
from metrics_server.kube.events import Regarding

_MAX_NAME = 64


class Writer(Struct, frozen=True):
    """Who wrote the bundle.

    Attributes:
        name: the manager's name, as `kubectl get -o yaml --show-managed-fields` shows it.
        time: when; "" if unknown.
    """

    name: str = "another writer"
    time: str = ""


class StoredBundle(Struct, frozen=True):
    """A bundle as read.

    Attributes:
        bundle: PEM; empty if there is none, or if clients do not verify.
        object: the object that it is in, from JSON; None if it has yet to be created.
        regarding: the same object, for events.
        writer: who wrote the bundle.
    """

    bundle: bytes
    object: Mapping[str, object] | None
    regarding: Regarding
    writer: Writer = Writer()


class NoPlaceError(KubernetesError):
    """No client reads our bundle from this place.

    Attributes:
        is_normal: whether there is nothing to fix, as with an APIService that does not exist.
    """

    def __init__(self, message: str, *, is_normal: bool = False) -> None:
        super().__init__(message)
        self.is_normal = is_normal


class BundlePlace(Protocol):
    """A place for the bundle."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        ...

    @property
    def log_values(self) -> Mapping[str, str]:
        """The kind and the name of its object, for the log."""
        ...

    async def read(self) -> StoredBundle:
        """Read the bundle.

        Raises:
            NoPlaceError: there is no such place.
            KubernetesError: it cannot be read.
        """
        ...

    async def write(self, before: StoredBundle, bundle: bytes) -> None:
        """Write a bundle.

        Raises:
            NoPlaceError: there is no such place.
            KubernetesError: it cannot be written; with code 409 if it has changed since `before`.
        """
        ...

    def advice(self, writer: Writer) -> str:
        """Return what follows from another writer, and what to do, as the end of a sentence."""
        ...


class ManagedFields(Struct, rename="camel"):
    """Which fields a manager wrote last, in the metadata of an object."""

    manager: str = ""
    time: str = ""
    fields: Mapping[str, object] = msgspec.field(default_factory=dict, name="fieldsV1")


class Meta(Struct, rename="camel"):
    """The metadata of an object."""

    resource_version: str
    uid: str = ""
    managed_fields: list[ManagedFields] = msgspec.field(default_factory=list)


def writer_of(meta: Meta, path: Sequence[str]) -> Writer:
    """Return who last wrote a field.

    Args:
        meta: the metadata of the field's object.
        path: the field, in the form of fieldsV1.
    """
    owners = [one for one in meta.managed_fields if one.manager and _has(one.fields, path)]
    last = max(owners, key=lambda one: one.time, default=None)
    if last is None:
        return Writer()
    return Writer(printable(last.manager, _MAX_NAME), printable(last.time, _MAX_NAME))


def _has(fields: Mapping[str, object], path: Sequence[str]) -> bool:
    found: object = fields
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    return True
