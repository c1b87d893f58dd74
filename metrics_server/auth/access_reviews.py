"""SubjectAccessReviews, as the Kubernetes API reads and answers them."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from metrics_server.auth.identity import User
from metrics_server.auth.request_info import Attributes
from metrics_server.auth.selectors import Requirement


class SelectorAttributes(Struct, frozen=True):
    """authorization.k8s.io/v1 FieldSelectorAttributes or LabelSelectorAttributes."""

    requirements: tuple[Requirement, ...]


class ResourceAttributes(Struct, frozen=True, rename="camel", omit_defaults=True):
    """authorization.k8s.io/v1 ResourceAttributes."""

    namespace: str
    verb: str
    group: str
    version: str
    resource: str
    subresource: str = ""
    name: str = ""
    field_selector: SelectorAttributes | None = None
    label_selector: SelectorAttributes | None = None


class NonResourceAttributes(Struct, frozen=True):
    """authorization.k8s.io/v1 NonResourceAttributes."""

    path: str
    verb: str


class SubjectAccessReviewSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """authorization.k8s.io/v1 SubjectAccessReviewSpec: a user and one kind of target."""

    user: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = {}
    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None


class SubjectAccessReview(Struct, frozen=True, rename="camel", kw_only=True):
    """authorization.k8s.io/v1 SubjectAccessReview, as sent."""

    api_version: str = "authorization.k8s.io/v1"
    kind: str = "SubjectAccessReview"
    spec: SubjectAccessReviewSpec


class SubjectAccessReviewStatus(Struct, frozen=True, rename="camel"):
    """authorization.k8s.io/v1 SubjectAccessReviewStatus: a decision, or why there is none."""

    allowed: bool
    denied: bool = False
    reason: str = ""
    evaluation_error: str = ""


class _Reviewed(Struct, frozen=True):
    kind: Literal["SubjectAccessReview"]
    status: SubjectAccessReviewStatus


_decoder = msgspec.json.Decoder(_Reviewed)


def review_of(user: User, attributes: Attributes) -> SubjectAccessReview:
    """Return the review of a user's request."""
    resource = ResourceAttributes(
        attributes.namespace,
        attributes.verb,
        attributes.group,
        attributes.version,
        attributes.resource,
        attributes.subresource,
        attributes.name,
        SelectorAttributes(attributes.fields) if attributes.fields else None,
        SelectorAttributes(attributes.labels) if attributes.labels else None,
    )
    path = NonResourceAttributes(attributes.path, attributes.verb)
    spec = SubjectAccessReviewSpec(
        user=user.name,
        uid=user.uid,
        groups=user.groups,
        extra=dict(user.extra),
        resource_attributes=resource if attributes.resource else None,
        non_resource_attributes=None if attributes.resource else path,
    )
    return SubjectAccessReview(spec=spec)


def decode(answer: bytes) -> SubjectAccessReviewStatus:
    """Return the status of a review.

    Raises:
        msgspec.DecodeError: the answer is not a SubjectAccessReview.
        UnicodeDecodeError: it is not UTF-8.
    """
    return _decoder.decode(answer).status
