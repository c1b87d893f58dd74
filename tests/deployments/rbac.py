"""Role-based access control like kube-apiserver's, in front of an API without any."""

from collections.abc import Iterator, Sequence
from typing import Self

import aiohttp
from aiohttp import web
from msgspec import Struct

from metrics_server.simulator.kube.objects import Json, Object
from tests.deployments.manifests import at, items, texts

# The default roles of every cluster that manifests bind.
# https://kubernetes.io/docs/reference/access-authn-authz/rbac/#other-component-roles, and
# plugin/pkg/auth/authorizer/rbac/bootstrappolicy in Kubernetes.
BOOTSTRAP: dict[tuple[str, str], list[Json]] = {
    ("ClusterRole", "system:auth-delegator"): [
        {
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["tokenreviews"],
            "verbs": ["create"],
        },
        {
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["subjectaccessreviews"],
            "verbs": ["create"],
        },
    ],
    ("Role", "extension-apiserver-authentication-reader"): [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["extension-apiserver-authentication"],
            "verbs": ["get", "list", "watch"],
        }
    ],
}


class Call(Struct, frozen=True):
    """The operation of a request, like RequestInfo of k8s.io/apiserver."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f'cannot {self.verb} resource "{self.resource}" in API group "{self.group}"'


class Grant(Struct, frozen=True):
    """One verb on one resource, from one rule.

    Attributes:
        role: the name of the rule's role.
        namespace: where it applies; "" is everywhere.
        names: the only objects that it applies to; empty is all.
    """

    role: str
    verb: str
    group: str
    resource: str
    namespace: str
    names: tuple[str, ...]

    def allows(self, call: Call) -> bool:
        """Whether this grant permits a call."""
        return (
            (self.verb, self.group, self.resource) == (call.verb, call.group, call.resource)
            and self.namespace in ("", call.namespace)
            and (not self.names or call.name in self.names)
        )


def grants(objects: Sequence[Object], account: Object) -> Iterator[Grant]:
    """A ServiceAccount's grants from bindings."""
    for binding in objects:
        if account not in items(binding, "subjects"):
            continue
        kind, role = str(at(binding, "roleRef", "kind")), str(at(binding, "roleRef", "name"))
        cluster_wide = binding["kind"] == "ClusterRoleBinding"
        namespace = "" if cluster_wide else str(at(binding, "metadata", "namespace"))
        for rule in BOOTSTRAP.get((kind, role)) or _rules(objects, kind, role):
            for group in texts(rule, "apiGroups"):
                for resource in texts(rule, "resources"):
                    for verb in texts(rule, "verbs"):
                        names = tuple(texts(rule, "resourceNames"))
                        yield Grant(role, verb, group, resource, namespace, names)


def _rules(objects: Sequence[Object], kind: str, name: str) -> list[Json]:
    (role,) = (o for o in objects if (o["kind"], at(o, "metadata", "name")) == (kind, name))
    return items(role, "rules")


def taken_away(granted: Sequence[Grant]) -> list[tuple[Grant, ...]]:
    """Each grant alone, but those of a verb on all objects of different kinds together."""
    verbs = ("get", "list", "watch")
    alone = [(one,) for one in granted if one.names or one.verb not in verbs]
    together = [
        tuple(one for one in granted if one.verb == verb and not one.names) for verb in verbs
    ]
    return alone + together


class AccessControl:
    """Forwards granted requests to a Kubernetes API, and rejects the others with its 403.

    An asynchronous context manager, on loopback.

    Args:
        upstream: the URL of the API.
        granted: the permitted calls.

    Attributes:
        refused: the rejected calls.
        used: the grants that calls needed.
    """

    def __init__(self, upstream: str, granted: Sequence[Grant]) -> None:
        self.refused: set[Call] = set()
        self.used: set[Grant] = set()
        self._upstream = upstream
        self._granted = granted
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = call_of(request)
        enough = [grant for grant in self._granted if grant.allows(call)]
        if not enough:
            self.refused.add(call)
            return web.json_response(
                {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Failure",
                    "message": f'{call.resource} is forbidden: User "test" {call}',
                    "reason": "Forbidden",
                    "code": 403,
                },
                status=403,
            )
        self.used.update(enough)
        kept = {k: v for k, v in request.headers.items() if k in ("Accept", "Content-Type")}
        async with self._session.request(
            request.method,
            f"{self._upstream}{request.raw_path}",
            headers=kept,
            data=await request.read() or None,
        ) as answer:
            response = web.StreamResponse(
                status=answer.status, headers={"Content-Type": answer.content_type}
            )
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response


def call_of(request: web.Request) -> Call:
    """The operation of a request."""
    parts = request.path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    namespace = ""
    if rest[0] == "namespaces" and rest[2:]:
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if rest[1:] else ""
    verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(
        request.method, "get" if name else "list"
    )
    if verb == "list":
        # An object selected by name counts as named.
        selector = request.query.get("fieldSelector", "")
        name = selector.removeprefix("metadata.name=") if "metadata.name=" in selector else ""
        verb = "watch" if request.query.get("watch") in ("true", "1") else "list"
    return Call(verb, group, rest[0], namespace, name)
