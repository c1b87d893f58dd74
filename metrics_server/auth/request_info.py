"""What a request asks for, as RequestInfo of k8s.io/apiserver tells it."""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from urllib.parse import unquote_plus

from msgspec import Struct

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
_READS = ("GET", "HEAD")
# As verbsWithSelectors of k8s.io/apiserver.
_VERBS_WITH_SELECTORS = ("list", "watch", "deletecollection")
_PARAMETERS = ("watch", "fieldSelector", "labelSelector")


class Attributes(Struct, frozen=True, dict=True, cache_hash=True):
    """What is to be authorized, as authorizer.Attributes of k8s.io/apiserver has it.

    A request for a metric has a resource and no path; any other has a path alone.

    Attributes:
        verb: of RBAC, for a metric; else the HTTP method in lower case.
        namespace: the namespace.
        group: the API group.
        version: the API group's version.
        resource: the metric, in lower case.
        path: the path, without slashes at its end.
        name: the one object that is selected by its name; "" for all.
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
    fields: tuple[Requirement, ...] = ()
    labels: tuple[Requirement, ...] = ()

    @cached_property
    def characters(self) -> int:
        """How long all of it is."""
        words = [self.verb, self.namespace, self.group, self.version, self.resource, self.path]
        words.append(self.name)
        for one in (*self.fields, *self.labels):
            words += (one.key, *one.values)
        return sum(map(len, words))


def attributes_of(method: str, path: str, query: str) -> Attributes:
    """What a request asks for.

    All spellings that the API serves as one are one here: a slash at the end makes no difference,
    nor does the case of a metric, nor how its name and its namespace are percent-encoded. All
    other parts of a path count as they were sent, because only so are they served.

    Args:
        method: of HTTP, in capitals.
        path: the URL's, still percent-encoded.
        query: the URL's, still encoded.

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
        # A part that is empty would stand for every namespace, or for none.
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
    return Attributes(verb=method.lower(), path=path)


_known_attributes_of = lru_cache(maxsize=512)(_attributes_of)


def _verb(method: str, parameters: Mapping[str, str]) -> str:
    """The verb for a metric. A GET without a name is a list, or a watch, never a get."""
    verb = _VERBS.get(method, method.lower())
    watches = parameters.get("watch", "false").lower() not in ("false", "0")
    return "watch" if verb == "list" and watches else verb


def _parameters(query: str) -> Mapping[str, str]:
    """Those that are read here; as in Go's url.Values, the first of a parameter's values counts."""
    found: dict[str, str] = {}
    for pair in query.split("&"):
        encoded, _, value = pair.partition("=")
        name = unquote_plus(encoded)
        if name in _PARAMETERS and name not in found:
            found[name] = unquote_plus(value)
    return found
