"""The discovery documents: which groups, which versions, which resources; built once.

The types are those of k8s.io/apimachinery (pkg/apis/meta/v1, pkg/version) and of
k8s.io/api/apidiscovery (v2 and v2beta1), with the fields used here.
"""

import platform
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Literal, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from metrics_server import __version__
from metrics_server.api.groups import ApiGroup
from metrics_server.api.negotiation import Offer
from metrics_server.api.types import ListMeta

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
    """A meta/v1 APIGroup; kind and apiVersion are set where it is a document by itself."""

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


class APIResourceDiscovery(Struct, frozen=True, rename="camel"):
    """An apidiscovery APIResourceDiscovery."""

    resource: str
    response_kind: GroupVersionKind
    scope: str
    singular_resource: str
    verbs: tuple[str, ...]


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


class VersionInfo(Struct, frozen=True, rename="camel"):
    """A version.Info of k8s.io/apimachinery: the answer to /version.

    Attributes:
        major: the first number of the package's version.
        minor: the second.
        git_version: "v" and the package's version.
        git_commit: "", since a package does not know it.
        git_tree_state: "", likewise.
        build_date: the epoch, as in Kubernetes where the date is unknown.
        go_version: the language and its version, such as "python3.11.7".
        compiler: the implementation of Python.
        platform: the operating system and the machine, as "linux/x86_64".
    """

    major: str
    minor: str
    git_version: str
    git_commit: str
    git_tree_state: str
    build_date: str
    go_version: str
    compiler: str
    platform: str


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
            APIResource(one.name, "", namespaced=True, kind=one.kind, verbs=_VERBS)
            for one in group.resources
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
    resources = tuple(
        APIResourceDiscovery(
            one.name,
            GroupVersionKind(group.name, version, one.kind),
            "Namespaced",
            "",
            _VERBS,
        )
        for one in group.resources
    )
    return APIVersionDiscovery(version, resources, "Current")


def version_info() -> VersionInfo:
    """The version of this package and of the Python that runs it."""
    major, minor, *_ = __version__.split(".")
    return VersionInfo(
        major=major,
        minor=minor,
        git_version=f"v{__version__}",
        git_commit="",
        git_tree_state="",
        build_date="1970-01-01T00:00:00Z",
        go_version=f"python{platform.python_version()}",
        compiler=platform.python_implementation(),
        platform=f"{sys.platform}/{platform.machine()}",
    )


def encode(document: object, content_type: str = "application/json") -> Document:
    """A document as JSON, with its entity tag."""
    body = msgspec.json.encode(document)
    return Document(body, content_type, f'"{sha256(body).hexdigest().upper()}"')
