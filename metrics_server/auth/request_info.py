"""The verb and target of a request, as RequestInfo of k8s.io/apiserver derives them."""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Self
from urllib.parse import unquote_plus

from msgspec import Struct, structs

from metrics_server.auth.selectors import (
    Requirement,
    field_requirements,
    label_requirements,
    name_of,
)
from metrics_server.common.weight import MAX_KEPT_CHARACTERS
from metrics_server.errors import BadRequestError
from metrics_server.http.paths import decoded

_VERBS: Mapping[str, str] = {
    "GET": "list",
    "HEAD": "list",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "deletecollection",
}
_VERBS_WITH_NAME: Mapping[str, str] = {
    **_VERBS,
    "GET": "get",
    "HEAD": "get",
    "DELETE": "delete",
}
_READS = ("GET", "HEAD")
# As verbsWithSelectors of k8s.io/apiserver.
_VERBS_WITH_SELECTORS = ("list", "watch", "deletecollection")
_PARAMETERS = ("watch", "fieldSelector", "labelSelector")


class Attributes(Struct, frozen=True, dict=True, cache_hash=True):
    """What to authorize, like authorizer.Attributes of k8s.io/apiserver.

    A request for a metric has a resource and no path; any other has only a path.

    Attributes:
        verb: the RBAC verb for a metric; else the HTTP method in lower case.
        namespace: the namespace.
        group: the API group.
        version: the API group's version.
        resource: the resource; an external metric in lower case.
        subresource: of the resource, such as a custom metric, as sent; "" without one.
        path: the path, without trailing slashes.
        name: the one object that is named, "*" as sent; "" for all.
        fields: what the field selector requires.
        labels: what the label selector requires.
    """

    verb: str
    namespace: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    path: str = ""
    name: str = ""
    subresource: str = ""
    fields: tuple[Requirement, ...] = ()
    labels: tuple[Requirement, ...] = ()

    @cached_property
    def characters(self) -> int:
        """The length of all the text in it."""
        words = [self.verb, self.namespace, self.group, self.version, self.resource, self.path]
        words += (self.name, self.subresource)
        for one in (*self.fields, *self.labels):
            words += (one.key, *one.values)
        return sum(map(len, words))

    @property
    def whole(self) -> Self:
        """The same request without selectors; itself if it has none."""
        if not self.fields and not self.labels:
            return self
        # The name is what a field selector requires.
        return structs.replace(self, name="", fields=(), labels=())


def attributes_of(method: str, path: str, query: str) -> Attributes:
    """Return the attributes of a request.

    Spellings that the API treats as the same are the same here: a trailing slash, the case of a
    metric, and the percent-encoding of its name and namespace make no difference. All other parts
    of a path count exactly as sent, since they are served only so.

    Args:
        method: the HTTP method, in capitals.
        path: the path of the URL, still percent-encoded.
        query: the query of the URL, still encoded.

    Raises:
        BadRequestError: the path is not percent-encoded UTF-8.
    """
    if len(path) + len(query) > 4 * MAX_KEPT_CHARACTERS:
        return _attributes_of(method, path, query)
    return _known_attributes_of(method, path, query)


def _attributes_of(method: str, path: str, query: str) -> Attributes:
    if not path.isascii():
        raise BadRequestError(f"the path must be percent-encoded UTF-8: {path!a}")
    path = path.rstrip("/") or "/"
    match path.split("/"):
        # An empty part would mean every namespace, or none.
        case ["", "apis", group, version, "namespaces", namespace, metric] if (
            group and version and namespace and metric
        ):
            parameters = _parameters(query)
            verb = _verb(method, parameters)
            selects = verb in _VERBS_WITH_SELECTORS
            fields = field_requirements(parameters.get("fieldSelector", "")) if selects else ()
            return Attributes(
                verb=verb,
                namespace=decoded(namespace),
                group=group,
                version=version,
                resource=decoded(metric).lower(),
                name=name_of(fields) if method in _READS else "",
                fields=fields,
                labels=label_requirements(parameters.get("labelSelector", "")) if selects else (),
            )
        case ["", "apis", group, version, "namespaces", namespace, resource, name, *below] if all(
            (group, version, namespace, resource, name, *below)
        ):
            verb = _VERBS_WITH_NAME.get(method, method.lower())
            return Attributes(
                verb=verb,
                namespace=decoded(namespace),
                group=group,
                version=version,
                resource=decoded(resource),
                name=decoded(name),
                subresource=decoded(below[0]) if below else "",
            )
    return Attributes(verb=method.lower(), path=path)


_known_attributes_of = lru_cache(maxsize=512)(_attributes_of)


def _verb(method: str, parameters: Mapping[str, str]) -> str:
    """Return the verb for a metric. A GET without a name is a list or a watch, never a get."""
    verb = _VERBS.get(method, method.lower())
    watches = parameters.get("watch", "false").lower() not in ("false", "0")
    return "watch" if verb == "list" and watches else verb


def _parameters(query: str) -> Mapping[str, str]:
    """Parse the parameters that matter here; the first value counts, as in Go's url.Values."""
    found: dict[str, str] = {}
    for pair in query.split("&"):
        encoded, _, value = pair.partition("=")
        name = unquote_plus(encoded)
        if name in _PARAMETERS and name not in found:
            found[name] = unquote_plus(value)
    return found
