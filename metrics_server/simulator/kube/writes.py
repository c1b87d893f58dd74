"""Writes to the Kubernetes API: create, update, JSON merge patch (RFC 7386) and delete."""

from secrets import token_hex

import msgspec
from aiohttp import web

from metrics_server.simulator.kube.objects import (
    API_SERVICES,
    CONFIG_MAPS,
    EVENTS,
    SECRETS,
    Json,
    Object,
    ObjectStore,
    Resource,
    metadata,
)
from metrics_server.simulator.kube.statuses import (
    StatusDetails,
    StatusError,
    method_not_allowed,
    unsupported_media_type,
)

# Only the owner of the API changes the others, as their controllers would.
WRITABLE = (SECRETS, CONFIG_MAPS, API_SERVICES, EVENTS)

_MERGE_PATCH = "application/merge-patch+json"


async def written(
    store: ObjectStore, request: web.Request, resource: Resource, namespace: str, name: str | None
) -> tuple[Object, int]:
    """Perform a write, and return the answer and its HTTP status.

    Args:
        store: the store to write to.
        request: the request.
        resource: one of WRITABLE.
        namespace: of the object; "" without one.
        name: its name; None for the collection.

    Raises:
        StatusError: the write is rejected.
    """
    if (request.method == "POST") is (name is None):
        match request.method:
            case "POST":
                return _created(store, resource, namespace, await _object(request)), 201
            case "PUT":
                before = _existing(store, resource, namespace, name or "")
                return _updated(store, resource, before, await _object(request)), 200
            case "PATCH":
                before = _existing(store, resource, namespace, name or "")
                patch = await _object(request, _MERGE_PATCH)
                return _updated(store, resource, before, merged(before, patch)), 200
            case "DELETE":
                return _deleted(store, resource, namespace, name or ""), 200
    raise method_not_allowed()


async def _object(request: web.Request, content_type: str = "application/json") -> Object:
    if request.content_type != content_type:
        raise unsupported_media_type(content_type)
    try:
        decoded: Json = msgspec.json.decode(await request.read())
    except (msgspec.DecodeError, ValueError) as error:
        raise StatusError(400, f"the object provided is unrecognized: {error}") from error
    if not isinstance(decoded, dict):
        raise StatusError(400, "the object provided is unrecognized")
    return decoded


def _existing(store: ObjectStore, resource: Resource, namespace: str, name: str) -> Object:
    found = store.get(resource, namespace, name)
    if found is None:
        details = _details(resource, name)
        raise StatusError(404, f'{resource.qualified} "{name}" not found', details)
    return found


def _created(store: ObjectStore, resource: Resource, namespace: str, obj: Object) -> Object:
    meta = metadata(obj)
    name = str(meta.get("name", ""))
    if not name and (prefix := meta.get("generateName")):
        name = meta["name"] = f"{prefix}{token_hex(3)}"
    if not name:
        raise _invalid(
            resource, name, "metadata.name: Required value: name or generateName is required"
        )
    if resource.namespaced:
        meta["namespace"] = namespace
    if store.get(resource, namespace, name) is not None:
        details = _details(resource, name)
        message = f'{resource.qualified} "{name}" already exists'
        raise StatusError(409, message, details, reason="AlreadyExists")
    _validate(resource, name, obj)
    return store.apply(resource, obj)


def _updated(store: ObjectStore, resource: Resource, before: Object, after: Object) -> Object:
    was, meta = metadata(before), metadata(after)
    name = str(was["name"])
    version = meta.get("resourceVersion")
    if not version and resource not in (SECRETS, CONFIG_MAPS):
        raise _invalid(
            resource,
            name,
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update",
        )
    if version not in (None, "", was["resourceVersion"]):
        raise StatusError(
            409,
            f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been '
            "modified; please apply your changes to the latest version and try again",
            _details(resource, name),
            reason="Conflict",
        )
    _validate(resource, name, after)
    # A client cannot change these.
    meta = {**meta, **{key: was[key] for key in _KEPT if key in was}}
    after = {**after, "metadata": meta}
    # A write that changes nothing does not create a version.
    return before if after == before else store.apply(resource, after)


_KEPT = ("name", "namespace", "uid", "creationTimestamp", "resourceVersion")


def _deleted(store: ObjectStore, resource: Resource, namespace: str, name: str) -> Object:
    last = _existing(store, resource, namespace, name)
    store.delete(resource, namespace, name)
    return deletion_of(resource, last)


def deletion_of(resource: Resource, last: Object) -> Object:
    """Return the answer to a deletion.

    Args:
        resource: of the object.
        last: the object before it.
    """
    meta = metadata(last)
    details: Object = {"name": meta["name"], "kind": resource.name, "uid": meta["uid"]}
    if resource.group:
        details["group"] = resource.group
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


def merged(target: Object, patch: Object) -> Object:
    """Return an object with a patch applied (RFC 7386).

    null removes, an object is merged, anything else replaces.
    """
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            before = result.get(key)
            result[key] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[key] = value
    return result


def _validate(resource: Resource, name: str, obj: Object) -> None:
    if resource == EVENTS:
        _validate_event(name, obj)
    spec = obj.get("spec")
    if resource != API_SERVICES or not isinstance(spec, dict):
        return
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        raise _invalid(
            resource,
            name,
            "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is "
            "present",
        )


def _validate_event(name: str, obj: Object) -> None:
    """The namespaces must agree; that of a cluster-scoped object is "default"."""
    involved = obj.get("involvedObject")
    of_object = str(involved.get("namespace", "")) if isinstance(involved, dict) else ""
    if metadata(obj)["namespace"] != (of_object or "default"):
        what = f'Invalid value: "{of_object}": does not match event.namespace'
        raise _invalid(EVENTS, name, f"involvedObject.namespace: {what}")


def _invalid(resource: Resource, name: str, what: str) -> StatusError:
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = StatusDetails(name=name, group=resource.group, kind=resource.kind)
    return StatusError(422, f'{kind} "{name}" is invalid: {what}', details)


def _details(resource: Resource, name: str) -> StatusDetails:
    return StatusDetails(name=name, group=resource.group, kind=resource.name)
