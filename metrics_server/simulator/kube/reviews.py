"""The reviews that the Kubernetes API gives, for `KubernetesAPI.aggregate`."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec
from aiohttp import web

from metrics_server.auth.authorization import SubjectAccessReviewSpec
from metrics_server.auth.identity import User
from metrics_server.auth.request_info import Attributes
from metrics_server.simulator.kube.objects import Json, Object

Decide = Callable[[User, Attributes], Object]
AccessFault = Literal["500", "garbage", "hang"]

_AUDIENCES = ["https://kubernetes.default.svc"]


class Reviews:
    """Answers reviews as kube-apiserver does.

    Args:
        tokens: whom each token stands for; any other token is refused.

    Attributes:
        token_reviews: how many tokens were reviewed.
        decide: the status of a SubjectAccessReview; at first all are denied.
        access_reviews: the SubjectAccessReviews that were asked for last, oldest first.
        access_fault: how they fail: by HTTP 500, by an answer that is none, by no answer at all.
    """

    def __init__(self, tokens: Mapping[str, User]) -> None:
        self._tokens = tokens
        self.token_reviews = 0
        self.decide: Decide = lambda _user, _attributes: {"allowed": False}
        self.access_reviews: deque[Object] = deque(maxlen=1000)
        self.access_fault: AccessFault | None = None

    async def token_review(self, request: web.Request) -> web.Response:
        """The answer to POST /apis/authentication.k8s.io/v1/tokenreviews."""
        if request.method == "GET":
            return _resources("authentication.k8s.io/v1", "tokenreviews", "TokenReview")
        self.token_reviews += 1
        spec = (await request.json())["spec"]
        user = self._tokens.get(spec["token"])
        status: Object = {"user": {}, "error": "invalid bearer token"}
        if user is not None:
            status = {"authenticated": True, "user": _user(user), "audiences": [*_AUDIENCES]}
        return _created("authentication.k8s.io/v1", "TokenReview", spec, {"f:token": {}}, status)

    async def subject_access_review(self, request: web.Request) -> web.Response:
        """The answer to POST /apis/authorization.k8s.io/v1/subjectaccessreviews."""
        if request.method == "GET":
            return _resources(
                "authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview"
            )
        review = await request.json()
        self.access_reviews.append(review)
        match self.access_fault:
            case "500":
                return web.json_response({"kind": "Status", "message": "no leader"}, status=500)
            case "garbage":
                return web.json_response({"kind": "Status", "status": "Success"}, status=201)
            case "hang":
                await asyncio.Event().wait()
        told: Object = review["spec"]
        spec = msgspec.convert(told, SubjectAccessReviewSpec)
        user = User(spec.user, spec.uid, spec.groups, tuple(spec.extra.items()))
        status = self.decide(user, _attributes(spec))
        fields: Object = {f"f:{name}": _fields(value) for name, value in told.items()}
        return _created("authorization.k8s.io/v1", "SubjectAccessReview", told, fields, status)


def _resources(group_version: str, name: str, kind: str) -> web.Response:
    """The discovery of a group version that has only reviews of one kind."""
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


def _attributes(spec: SubjectAccessReviewSpec) -> Attributes:
    match spec.resource_attributes, spec.non_resource_attributes:
        case asked, None if asked is not None:
            return Attributes(
                asked.verb,
                asked.namespace,
                asked.group,
                asked.version,
                asked.resource,
                name=asked.name,
                fields=asked.field_selector.requirements if asked.field_selector else (),
                labels=asked.label_selector.requirements if asked.label_selector else (),
            )
        case None, path if path is not None:
            return Attributes(path.verb, path=path.path)
    raise web.HTTPUnprocessableEntity(text="exactly one of the two kinds of attributes is needed")


def _fields(value: Json) -> Object:
    """What managedFields tells of a field that was set."""
    if not isinstance(value, dict):
        return {}
    return {".": {}, **{f"f:{name}": {} for name in value}}


def _user(user: User) -> Object:
    """A UserInfo, without what is empty."""
    told: Object = {
        "username": user.name,
        "uid": user.uid,
        "groups": [*user.groups],
        "extra": {key: [*values] for key, values in user.extra},
    }
    return {key: value for key, value in told.items() if value}


def _created(
    group_version: str, kind: str, spec: Object, fields: Object, status: Object
) -> web.Response:
    """A review that is answered; `fields` are the managed ones of its spec."""
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
