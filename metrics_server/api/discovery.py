"""The discovery documents: which groups, which versions, which resources; built once.

The types are those of k8s.io/apimachinery (pkg/apis/meta/v1) and of
k8s.io/api/apidiscovery (v2 and v2beta1), with the fields used here.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Literal, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from metrics_server.api.groups import ApiGroup, ApiResource
from metrics_server.api.negotiation import Offer
from metrics_server.api.types import ListMeta
from metrics_server.api.version import version_info

_VERBS = ("get",)

DiscoveryVersion = Literal["v2", "v2beta1"]

MEDIA_TYPES: dict[DiscoveryVersion, str] = {
    version: Offer(
        kind="APIGroupDiscoveryList", group="apidiscovery.k8s.io", version=version
    ).content_type
    for version in get_args(DiscoveryVersion)
}
"""How a client requests aggregated discovery, and recognizes it."""


class GroupVersionForDiscovery(Struct, frozen=True, rename="camel"):
    """A version of a group, with and without the group."""

    group_version: str
    version: str


class APIGroup(Struct, frozen=True, rename="camel", kw_only=True):
    """A meta/v1 APIGroup; kind and apiVersion are set if it is a document on its own."""

    kind: str | UnsetType = UNSET
    api_version: str | UnsetType = UNSET
    name: str
    versions: tuple[GroupVersionForDiscovery, ...]
    preferred_version: GroupVersionForDiscovery


class APIGroupList(Struct, frozen=True, rename="camel", kw_only=True):
    """A meta/v1 APIGroupList: the answer to /apis."""

    kind: str = "APIGroupList"
    api_version: str = "v1"
    groups: tuple[APIGroup, ...]


class APIResource(Struct, frozen=True, rename="camel"):
    """A meta/v1 APIResource."""

    name: str
    singular_name: str
    namespaced: bool
    kind: str
    verbs: tuple[str, ...]


class APIResourceList(Struct, frozen=True, rename="camel", kw_only=True):
    """A meta/v1 APIResourceList: the answer to /apis/GROUP/VERSION."""

    kind: str = "APIResourceList"
    api_version: str = "v1"
    group_version: str
    resources: tuple[APIResource, ...]


class GroupVersionKind(Struct, frozen=True):
    """A meta/v1 GroupVersionKind."""

    group: str
    version: str
    kind: str


class APISubresourceDiscovery(Struct, frozen=True, rename="camel"):
    """An apidiscovery APISubresourceDiscovery."""

    subresource: str
    response_kind: GroupVersionKind
    verbs: tuple[str, ...]


class APIResourceDiscovery(Struct, frozen=True, rename="camel"):
    """An apidiscovery APIResourceDiscovery.

    Attributes:
        resource: its name.
        response_kind: what it is read as; empty, not null, where only its subresources can be read,
            since clients of 1.26.0 to 1.26.3 crash on null.
        scope: "Namespaced" or "Cluster".
        singular_resource: "".
        verbs: what can be done with it.
        subresources: its subresources; omitted without any.
    """

    resource: str
    response_kind: GroupVersionKind
    scope: str
    singular_resource: str
    verbs: tuple[str, ...]
    subresources: tuple[APISubresourceDiscovery, ...] | UnsetType = UNSET


class APIVersionDiscovery(Struct, frozen=True):
    """An apidiscovery APIVersionDiscovery."""

    version: str
    resources: tuple[APIResourceDiscovery, ...]
    freshness: str


class ObjectName(Struct, frozen=True):
    """The one field of a meta/v1 ObjectMeta that discovery has: the group's name."""

    name: str


class APIGroupDiscovery(Struct, frozen=True):
    """An apidiscovery APIGroupDiscovery."""

    metadata: ObjectName
    versions: tuple[APIVersionDiscovery, ...]


class APIGroupDiscoveryList(Struct, frozen=True, rename="camel", kw_only=True):
    """An apidiscovery APIGroupDiscoveryList: the answer to /apis for a client that asks for it."""

    kind: str = "APIGroupDiscoveryList"
    api_version: str
    metadata: ListMeta = ListMeta()
    items: tuple[APIGroupDiscovery, ...]


class Document(Struct, frozen=True):
    """An answer that never changes while the server runs.

    Attributes:
        body: the bytes to send.
        content_type: their media type, with its parameters.
        etag: a strong entity tag, in quotes: the hash of the body.
    """

    body: bytes
    content_type: str
    etag: str

    @property
    def hash(self) -> str:
        """The entity tag without its quotes."""
        return self.etag.strip('"')


class Discovery(Struct, frozen=True):
    """Every discovery document.

    Attributes:
        api_group_list: for /apis.
        api_group_discovery_list: for /apis, by the version of apidiscovery.k8s.io that is asked
            for.
        api_groups: for /apis/GROUP, by group.
        api_resource_lists: for /apis/GROUP/VERSION, by group and version, such as
            "external.metrics.k8s.io/v1beta1".
        version: for /version.
    """

    api_group_list: Document
    api_group_discovery_list: Mapping[DiscoveryVersion, Document]
    api_groups: Mapping[str, Document]
    api_resource_lists: Mapping[str, Document]
    version: Document


def build_discovery(groups: Sequence[ApiGroup]) -> Discovery:
    """Return every discovery document for these groups."""
    listed = {group.name: _api_group(group) for group in groups}
    return Discovery(
        api_group_list=encode(APIGroupList(groups=tuple(listed.values()))),
        api_group_discovery_list={
            version: encode(_group_discovery_list(groups, version), media_type)
            for version, media_type in MEDIA_TYPES.items()
        },
        api_groups={
            name: encode(msgspec.structs.replace(group, kind="APIGroup", api_version="v1"))
            for name, group in listed.items()
        },
        api_resource_lists={
            f"{group.name}/{version}": encode(_api_resource_list(group, version))
            for group in groups
            for version in group.versions
        },
        version=encode(version_info()),
    )


def _api_group(group: ApiGroup) -> APIGroup:
    versions = tuple(
        GroupVersionForDiscovery(f"{group.name}/{version}", version) for version in group.versions
    )
    return APIGroup(name=group.name, versions=versions, preferred_version=versions[0])


def _api_resource_list(group: ApiGroup, version: str) -> APIResourceList:
    return APIResourceList(
        group_version=f"{group.name}/{version}",
        resources=tuple(
            APIResource(name, "", namespaced=one.namespaced, kind=one.kind, verbs=_VERBS)
            for one in group.resources
            for name in [f"{one.name}/{sub}" for sub in one.subresources] or [one.name]
        ),
    )


def _group_discovery_list(
    groups: Sequence[ApiGroup], version: DiscoveryVersion
) -> APIGroupDiscoveryList:
    """Return the groups in a version of apidiscovery.k8s.io."""
    return APIGroupDiscoveryList(
        api_version=f"apidiscovery.k8s.io/{version}",
        items=tuple(
            APIGroupDiscovery(
                ObjectName(group.name),
                tuple(_version_discovery(group, served) for served in group.versions),
            )
            for group in groups
        ),
    )


def _version_discovery(group: ApiGroup, version: str) -> APIVersionDiscovery:
    resources = tuple(_resource_discovery(group.name, version, one) for one in group.resources)
    return APIVersionDiscovery(version, resources, "Current")


def _resource_discovery(group: str, version: str, one: ApiResource) -> APIResourceDiscovery:
    kind = GroupVersionKind(group, version, one.kind)
    subresources = tuple(APISubresourceDiscovery(sub, kind, _VERBS) for sub in one.subresources)
    return APIResourceDiscovery(
        one.name,
        GroupVersionKind("", "", "") if subresources else kind,
        "Namespaced" if one.namespaced else "Cluster",
        "",
        () if subresources else _VERBS,
        subresources or UNSET,
    )


def encode(document: object, content_type: str = "application/json") -> Document:
    """A document as JSON, with its entity tag."""
    body = msgspec.json.encode(document)
    return Document(body, content_type, f'"{sha256(body).hexdigest().upper()}"')
