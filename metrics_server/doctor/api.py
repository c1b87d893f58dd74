"""Reads from the Kubernetes API, bounded in time and bytes. Nothing here changes anything."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from metrics_server.doctor.objects import Review
from metrics_server.errors import KubernetesError
from metrics_server.kube.answers import Fetched
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.wire import List

T = TypeVar("T")

_SECONDS = 10.0
_PAGE = 500
_MAX_VERSION_BYTES = 64 * 1024
# Pods have up to 20 KiB each, managed fields included.
_MAX_BYTES = 64 * 1024 * 1024
# More than that takes too long from a laptop.
_MAX_PAGES = 40

_AUTHORIZATION = "/apis/authorization.k8s.io/v1"
_NAMESPACED = "/api/v1/namespaces"


class Access(Struct, frozen=True, omit_defaults=True):
    """The access that a review is about: authorization.k8s.io/v1 ResourceAttributes."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        resource += f"/{self.subresource}" if self.subresource else ""
        named = f" {self.name}" if self.name else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {resource}{named}{where}"


class Api:
    """The Kubernetes API.

    Args:
        client: its client.
    """

    def __init__(self, client: KubernetesClient) -> None:
        self.client = client

    async def check(self) -> None:
        """Check that there is a Kubernetes API that accepts the credentials.

        Without this, each read would report the same.

        Raises:
            KubernetesError: it cannot be reached, is another server, or rejects the credentials.
        """
        answer = await self.fetch("/version", max_bytes=_MAX_VERSION_BYTES)
        host = self.client.host
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise KubernetesError(
                f"the Kubernetes API at {host} rejects your credentials (HTTP 401): log in again, "
                "or choose another --kubeconfig or --context",
                answer.status,
            )
        try:
            msgspec.json.decode(answer.body, type=dict)
        except (msgspec.DecodeError, ValueError):
            raise KubernetesError(
                f"{host} answers HTTP {answer.status}, but not as a Kubernetes API does: a proxy "
                "or another server is at this address",
                answer.status,
            ) from None

    async def fetch(
        self, path: str, query: Mapping[str, str] | None = None, *, max_bytes: int = _MAX_BYTES
    ) -> Fetched:
        """Return the answer to a GET, whatever its status.

        Raises:
            KubernetesError: none came.
        """
        return await self.client.fetch(path, query or {}, timeout=_SECONDS, max_bytes=max_bytes)

    async def find(self, path: str, kind: type[T]) -> T | None:
        """Return an object; None if it does not exist.

        Raises:
            KubernetesError: it cannot be read.
        """
        try:
            body = await self.client.get(path, {}, timeout=_SECONDS)
        except KubernetesError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise
        return msgspec.json.decode(body, type=kind)

    async def list(
        self, path: str, decode: Callable[[Raw], T], query: Mapping[str, str] | None = None
    ) -> Sequence[T]:
        """Return the objects of a collection, read in pages.

        Raises:
            KubernetesError: they cannot be read, or are too many.
        """
        found: list[T] = []
        resume = ""
        for _ in range(_MAX_PAGES):
            asked = {**(query or {}), "limit": str(_PAGE)}
            if resume:
                asked["continue"] = resume
            body = await self.client.get(path, asked, timeout=_SECONDS)
            page = msgspec.json.decode(body, type=List)
            found += map(decode, page.items or ())
            resume = page.metadata.next
            if not resume:
                return found
        raise KubernetesError(f"{path} lists more than {_MAX_PAGES * _PAGE} objects")

    async def may(self, access: Access, user: str = "", groups: Sequence[str] = ()) -> bool:
        """Return whether a user may do something.

        Args:
            access: what.
            user: who; "" for the user that this runs as.
            groups: of that user.

        Raises:
            KubernetesError: the review failed.
        """
        kind = "SubjectAccessReview" if user else "SelfSubjectAccessReview"
        spec: dict[str, object] = {"resourceAttributes": msgspec.to_builtins(access)}
        if user:
            spec |= {"user": user, "groups": list(groups)}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
        path = f"{_AUTHORIZATION}/{kind.lower()}s"
        body = await self.client.send("POST", path, review, timeout=_SECONDS)
        return msgspec.json.decode(body, type=Review).status.allowed


def proxied(namespace: str, pod: str, scheme: str, port: int, path: str) -> str:
    """Return the path of a page of a pod, read through kube-apiserver."""
    prefix = "https:" if scheme == "https" else ""
    target = quote(f"{prefix}{pod}:{port}", safe=":")
    return f"{_NAMESPACED}/{quote(namespace, safe='')}/pods/{target}/proxy{path}"


def decoder(kind: type[T]) -> Callable[[Raw], T]:
    """Return a function that decodes an object of a list."""
    return msgspec.json.Decoder(kind).decode
