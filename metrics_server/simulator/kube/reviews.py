"""The reviews of the Kubernetes API, for `KubernetesAPI.aggregate`."""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec
from aiohttp import web
from msgspec import Struct, structs

from metrics_server.simulator.faults import Fault
from metrics_server.simulator.kube.objects import Json, Object
from metrics_server.simulator.kube.statuses import (
    StatusError,
    not_served,
    response_of,
    unsupported_media_type,
)

SELF = "kubernetes-admin"
"""The user of a SelfSubjectAccessReview: the simulated API does not authenticate its clients."""

_AUDIENCES = ["https://kubernetes.default.svc"]


class Caller(Struct, frozen=True):
    """A user, like authentication.k8s.io/v1 UserInfo.

    Attributes:
        name: the username.
        uid: empty without one.
        groups: all of them, in order.
        extra: further attributes, each with its values.
    """

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = {}


class Requirement(Struct, frozen=True, forbid_unknown_fields=True):
    """One requirement of a field or label selector."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class _Selector(Struct, forbid_unknown_fields=True):
    requirements: tuple[Requirement, ...]


class _ResourceAttributes(Struct, rename="camel", forbid_unknown_fields=True):
    verb: str
    resource: str
    namespace: str = ""
    group: str = ""
    version: str = ""
    name: str = ""
    subresource: str = ""
    field_selector: _Selector | None = None
    label_selector: _Selector | None = None


class _NonResourceAttributes(Struct, forbid_unknown_fields=True):
    path: str
    verb: str


class _AccessSpec(Struct, rename="camel", forbid_unknown_fields=True):
    user: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, tuple[str, ...]] = {}
    resource_attributes: _ResourceAttributes | None = None
    non_resource_attributes: _NonResourceAttributes | None = None


class _AccessReview(Struct, rename="camel", forbid_unknown_fields=True):
    api_version: Literal["authorization.k8s.io/v1"]
    kind: Literal["SubjectAccessReview", "SelfSubjectAccessReview"]
    spec: _AccessSpec


class Access(Struct, frozen=True):
    """The target of a SubjectAccessReview: either a resource, or a path.

    Attributes:
        verb: such as list for a resource, or get for a path.
        namespace: of the resource.
        group: of the resource.
        version: of the group.
        resource: its plural; empty for a path.
        name: of one object; empty for all.
        subresource: of the resource; empty without one.
        path: the path; empty for a resource.
        fields: what a field selector requires.
        labels: what a label selector requires.
    """

    verb: str
    namespace: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    path: str = ""
    fields: tuple[Requirement, ...] = ()
    labels: tuple[Requirement, ...] = ()


Decide = Callable[[Caller, Access], Object]


class Reviews:
    """Answers reviews as kube-apiserver does.

    Args:
        tokens: the user of each token; any other token is rejected.

    Attributes:
        token_reviews: how many tokens were reviewed.
        decide: returns the status of a SubjectAccessReview; by default, access is denied.
        access_reviews: the latest SubjectAccessReviews, oldest first.
    """

    def __init__(self, tokens: Mapping[str, Caller]) -> None:
        self._tokens = tokens
        self.token_reviews = 0
        self.decide: Decide = lambda _caller, _access: {"allowed": False}
        self.access_reviews: deque[Object] = deque(maxlen=1000)
        self._fault: Fault | None = None

    def set_fault(self, fault: Fault | None) -> None:
        """Set a fault on all reviews, or remove it with None.

        Raises:
            ValueError: the fault is for exporters only.
        """
        if fault is not None and fault.kind in ("down", "unlabelled"):
            raise ValueError(f"reviews cannot be {fault.kind}")
        self._fault = fault

    async def token_review(self, request: web.Request) -> web.Response:
        """Answer POST /apis/authentication.k8s.io/v1/tokenreviews."""
        if request.method == "GET":
            return _resources("authentication.k8s.io/v1", "tokenreviews", "TokenReview")
        self.token_reviews += 1
        if (failure := await self._failure()) is not None:
            return failure
        if request.path.rpartition("/")[2] != "tokenreviews":
            raise not_served()
        _check_is_json(request)
        spec = (await request.json())["spec"]
        user = self._tokens.get(spec["token"])
        status: Object = {"user": {}, "error": "invalid bearer token"}
        if user is not None:
            status = {"authenticated": True, "user": _user(user), "audiences": [*_AUDIENCES]}
        return _created("authentication.k8s.io/v1", "TokenReview", spec, {"f:token": {}}, status)

    async def subject_access_review(self, request: web.Request) -> web.Response:
        """Answer POST /apis/authorization.k8s.io/v1/[self]subjectaccessreviews."""
        if request.method == "GET":
            return _resources(
                "authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview"
            )
        _check_is_json(request)
        review = await request.json()
        self.access_reviews.append(review)
        if (failure := await self._failure()) is not None:
            return failure
        try:
            parsed = msgspec.convert(review, _AccessReview)
            spec = parsed.spec
            if parsed.kind == "SelfSubjectAccessReview":
                spec = structs.replace(spec, user=SELF)
            access = _access(spec)
        except (ValueError, msgspec.ValidationError) as error:
            return response_of(StatusError(422, f"SubjectAccessReview is invalid: {error}"))
        decision = self.decide(Caller(spec.user, spec.uid, spec.groups, spec.extra), access)
        given: Object = review["spec"]
        fields: Object = {f"f:{name}": _fields(value) for name, value in given.items()}
        return _created("authorization.k8s.io/v1", parsed.kind, given, fields, decision)

    async def _failure(self) -> web.Response | None:
        """Return the answer that the current fault puts in place of a review, if any."""
        if self._fault is None:
            return None
        await self._fault.delay()
        match self._fault.kind:
            case "error":
                return web.json_response({"kind": "Status", "message": "no leader"}, status=500)
            case "garbage":
                return web.json_response({"kind": "Status", "status": "Success"}, status=201)
        return None


def _check_is_json(request: web.Request) -> None:
    """Raise a StatusError if the body of a request is not JSON: kubectl sends some as Protobuf."""
    if request.content_type != "application/json":
        raise unsupported_media_type("application/json")


def _resources(group_version: str, name: str, kind: str) -> web.Response:
    """Return the discovery document of a group version with one kind of review."""
    resource = {
        "name": name,
        "singularName": "",
        "namespaced": False,
        "kind": kind,
        "verbs": ["create"],
    }
    return web.json_response(
        {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": [resource],
        }
    )


def _access(spec: _AccessSpec) -> Access:
    resource, path = spec.resource_attributes, spec.non_resource_attributes
    if not spec.user and not spec.groups:
        raise ValueError("spec.user: at least one of user or group must be specified")
    if resource is not None and path is None:
        return Access(
            resource.verb,
            resource.namespace,
            resource.group,
            resource.version,
            resource.resource,
            resource.name,
            resource.subresource,
            fields=resource.field_selector.requirements if resource.field_selector else (),
            labels=resource.label_selector.requirements if resource.label_selector else (),
        )
    if path is not None and resource is None:
        return Access(path.verb, path=path.path)
    raise ValueError(
        "spec: exactly one of nonResourceAttributes or resourceAttributes must be specified"
    )


def _fields(value: Json) -> Object:
    """Return the managedFields entry of a field that was set."""
    if not isinstance(value, dict):
        return {}
    return {".": {}, **{f"f:{name}": {} for name in value}}


def _user(user: Caller) -> Object:
    """Return a UserInfo, without empty fields."""
    info: Object = {
        "username": user.name,
        "uid": user.uid,
        "groups": [*user.groups],
        "extra": {key: [*values] for key, values in user.extra.items()},
    }
    return {key: value for key, value in info.items() if value}


def _created(
    group_version: str, kind: str, spec: Object, fields: Object, status: Object
) -> web.Response:
    """Return the answer to a review; `fields` are the managed fields of its spec."""
    managed: Object = {
        "manager": "unknown",
        "operation": "Update",
        "apiVersion": group_version,
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": fields},
    }
    body: Object = {
        "kind": kind,
        "apiVersion": group_version,
        "metadata": {"managedFields": [managed]},
        "spec": spec,
        "status": status,
    }
    return web.json_response(body, status=201)
