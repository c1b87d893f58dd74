"""The parts of the Kubernetes API's answers: pages, watch events, discovery."""

import base64
import binascii
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import msgspec
from msgspec import Struct

from metrics_server.simulator.kube.label_selectors import LabelSelector
from metrics_server.simulator.kube.objects import (
    EVENTS,
    PODS,
    RESOURCES,
    Event,
    ExpiredError,
    Json,
    Key,
    Object,
    ObjectStore,
    Resource,
    labels,
    metadata,
)
from metrics_server.simulator.kube.statuses import Status, StatusError, not_served

_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter."
)
_FIELDS = ("metadata.name", "metadata.namespace")
_MORE_FIELDS: Mapping[Resource, tuple[str, ...]] = {
    # `kubectl describe` selects the events of an object by these, and the pods of a node.
    EVENTS: tuple(
        f"involvedObject.{name}" for name in ("apiVersion", "kind", "name", "namespace", "uid")
    ),
    PODS: ("spec.nodeName", "status.phase"),
}
# The fields that Go writes for an object with only a version.
_ZEROES: Mapping[str, Object] = {"Pod": {"spec": {"containers": None}, "status": {}}}
# What `kubectl get all` prints.
_IN_ALL = (
    *("Pod", "Service", "Deployment", "ReplicaSet", "StatefulSet", "Job"),
    "HorizontalPodAutoscaler",
)
_TOKEN_VERSION = "meta.k8s.io/v1"  # noqa: S105 - it names the form of a token


class Selection(Struct, frozen=True):
    """The objects that a list or a watch selects.

    Attributes:
        namespace: their namespace; None for all.
        labels: the label selector.
        fields: fields: the path, whether it must be equal, and to what.
    """

    namespace: str | None
    labels: LabelSelector
    fields: tuple[tuple[str, bool, str], ...]

    @property
    def everything(self) -> bool:
        """Whether everything is selected."""
        return self.namespace is None and self.labels.everything and not self.fields

    def matches(self, obj: Object | None) -> bool:
        """Whether there is an object, and it is selected."""
        if obj is None:
            return False
        meta = metadata(obj)
        return (
            self.namespace in (None, meta.get("namespace"))
            and self.labels.matches(labels(obj))
            and all((_field(obj, path) == value) is equal for path, equal, value in self.fields)
        )


def _field(obj: Object, path: str) -> Json:
    parent, _, name = path.partition(".")
    inside = obj.get(parent)
    return inside.get(name, "") if isinstance(inside, dict) else ""


def seen_as(event: Event, selection: Selection) -> str | None:
    """Return an event's type for a watch, as an object can enter or leave its selection."""
    now = event.type != "DELETED" and selection.matches(event.object)
    before = selection.matches(event.before)
    return {(True, False): "ADDED", (True, True): "MODIFIED", (False, True): "DELETED"}.get(
        (now, before)
    )


def selection_of(query: Mapping[str, str], namespace: str | None, resource: Resource) -> Selection:
    """Parse a request's labelSelector and fieldSelector.

    Raises:
        StatusError: one of them is malformed.
    """
    fields = []
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        name, operator, value = term.partition("=")
        if not operator:
            raise StatusError(400, f"invalid selector: '{term}'; can't understand '{term}'")
        field = name.removesuffix("!")
        if field not in (*_FIELDS, *_MORE_FIELDS.get(resource, ())):
            raise StatusError(400, f"field label not supported: {field}")
        fields.append((field, field == name, value.removeprefix("=")))
    return Selection(namespace, LabelSelector(query.get("labelSelector", "")), tuple(fields))


def page_of(
    store: ObjectStore, resource: Resource, selection: Selection, query: Mapping[str, str]
) -> tuple[Object, list[Object]]:
    """Return the metadata and items of a page, by limit, continue and resourceVersion.

    Raises:
        StatusError: the continue parameter is malformed, or too old.
    """
    version, start = store.version, ("", "")
    if resume := query.get("continue"):
        if query.get("resourceVersion", "") not in ("", "0"):
            message = "specifying resource version is not allowed when using continue"
            raise StatusError(400, message)
        version, start = _read_token(resume)
    # A list at version 0 comes from the API server's watch cache, which ignores the limit.
    unlimited = not resume and query.get("resourceVersion") == "0"
    limit = 0 if unlimited else int(query.get("limit") or "0")
    try:
        objects = store.snapshot(resource, version)
    except ExpiredError as error:
        raise StatusError(410, _CONTINUE_EXPIRED) from error
    keys = list(objects)
    keys = keys[bisect_left(keys, start) :]
    if not selection.everything:
        keys = [key for key in keys if selection.matches(objects[key])]
    page = [objects[key] for key in keys[: limit or None]]
    meta: Object = {"resourceVersion": str(version)}
    if remaining := len(keys) - len(page):
        meta["continue"] = _token(version, keys[limit - 1])
        if selection.labels.everything and not selection.fields:
            meta["remainingItemCount"] = remaining
    return meta, page


def _token(version: int, last: Key) -> str:
    """Return the continue token of a page that ended at a key."""
    place = {"v": _TOKEN_VERSION, "rv": version, "start": "/".join(filter(None, last)) + "\0"}
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


class _Place(Struct):
    v: str
    rv: int
    start: str


def _read_token(text: str) -> tuple[int, Key]:
    """Return the version and the first key from a continue token.

    Raises:
        StatusError: it is not a continue token.
    """
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        place = msgspec.json.decode(raw, type=_Place)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        message = f"invalid continue token: continue key is not valid: {error}"
        raise StatusError(400, message) from error
    namespace, _, name = place.start.rpartition("/")
    return place.rv, (namespace, name)


def line(kind: str, shown: Object | Status) -> bytes:
    """Return a watch event as sent."""
    return msgspec.json.encode({"type": kind, "object": shown}) + b"\n"


def bookmark(resource: Resource, version: int, *, ends_initial_events: bool = False) -> Object:
    """Return the object of a BOOKMARK event: only a version, and what Go writes with it."""
    marks: Object = {"annotations": {"k8s.io/initial-events-end": "true"}}
    return {
        "kind": resource.kind,
        "apiVersion": resource.group_version,
        "metadata": {"resourceVersion": str(version), **(marks if ends_initial_events else {})},
        **_ZEROES.get(resource.kind, {}),
    }


def list_of(resource: Resource, meta: Object, objects: Iterable[Object]) -> Object:
    """Return a list of objects; as in Go, the items do not repeat the kind."""
    items: list[Json] = [
        {k: v for k, v in obj.items() if k not in ("kind", "apiVersion")} for obj in objects
    ]
    head: Object = {"kind": f"{resource.kind}List", "apiVersion": resource.group_version}
    return {**head, "metadata": meta, "items": items}


def document(
    parts: Sequence[str], aggregated: Iterable[tuple[str, ...]], version: str
) -> Mapping[str, Json] | None:
    """Return the discovery document of a path; None for any other path.

    Args:
        parts: the segments of the path.
        aggregated: the aggregated groups and versions.
        version: of Kubernetes.
    """
    match parts:
        case ["version"]:
            major, minor, *_ = version.removeprefix("v").split(".")
            return {"major": major, "minor": minor, "gitVersion": version}
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            return _group_list(aggregated)
        case ["api", of_core]:
            return _resource_list("", of_core)
        case ["apis", group, of_group]:
            return _resource_list(group, of_group)
    return None


def _group_list(aggregated: Iterable[tuple[str, ...]]) -> Object:
    served = sorted({(r.group, r.version) for r in RESOURCES if r.group} | {*aggregated})
    groups: list[Json] = []
    for group, pairs in groupby(served, key=lambda pair: pair[0]):
        # The newest version is preferred.
        versions: list[Json] = [
            {"groupVersion": "/".join(pair), "version": pair[-1]}
            for pair in sorted(pairs, reverse=True)
        ]
        groups.append({"name": group, "versions": versions, "preferredVersion": versions[0]})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resource_list(group: str, version: str) -> Object:
    found = [r for r in RESOURCES if (r.group, r.version) == (group, version)]
    if not found:
        raise not_served()
    resources: list[Json] = [
        {
            "name": r.name,
            "singularName": r.kind.lower(),
            "namespaced": r.namespaced,
            "kind": r.kind,
            "verbs": ["get", "list", "watch"],
            "shortNames": list(r.short),
            "categories": ["all"] if r.kind in _IN_ALL else [],
        }
        for r in found
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].group_version,
        "resources": resources,
    }
