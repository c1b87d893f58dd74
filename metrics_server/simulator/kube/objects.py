"""The storage of the Kubernetes API: objects of a few resources, with versions and history."""

import copy
import itertools
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from msgspec import Struct

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Object: TypeAlias = dict[str, Json]
Key: TypeAlias = tuple[str, str]


class Resource(Struct, frozen=True):
    """A resource, as in discovery.

    Attributes:
        group: its API group; "" for the core group.
        version: of the group.
        name: its plural, as in a path.
        kind: of one object.
        short: its short names for kubectl.
        namespaced: whether its objects are in namespaces.
    """

    group: str
    version: str
    name: str
    kind: str
    short: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def group_version(self) -> str:
        """The apiVersion of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Its name in messages, such as deployments.apps."""
        return f"{self.name}.{self.group}" if self.group else self.name


PODS = Resource("", "v1", "pods", "Pod", ("po",))
NODES = Resource("", "v1", "nodes", "Node", ("no",), namespaced=False)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", ("cm",))
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", ("deploy",))
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet", ("sts",))
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet", ("ds",))
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet", ("rs",))
JOBS = Resource("batch", "v1", "jobs", "Job")
SERVICES = Resource("", "v1", "services", "Service", ("svc",))
AUTOSCALERS = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", ("hpa",)
)
EVENTS = Resource("", "v1", "events", "Event", ("ev",))
SECRETS = Resource("", "v1", "secrets", "Secret")
API_SERVICES = Resource(
    "apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False
)
RESOURCES = (
    PODS,
    NODES,
    CONFIG_MAPS,
    EVENTS,
    SECRETS,
    ENDPOINT_SLICES,
    DEPLOYMENTS,
    STATEFUL_SETS,
    DAEMON_SETS,
    REPLICA_SETS,
    JOBS,
    SERVICES,
    AUTOSCALERS,
    API_SERVICES,
)


class Event(Struct, frozen=True):
    """One change.

    Attributes:
        version: the resourceVersion of the change.
        resource: of its object.
        type: as in a watch.
        object: the object after the change, or before its deletion.
        before: the object before the change; None if it did not exist.
    """

    version: int
    resource: Resource
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object
    before: Object | None


class ExpiredError(Exception):
    """The requested version is older than the stored history.

    Attributes:
        oldest: the oldest version that is still known.
    """

    def __init__(self, oldest: int) -> None:
        super().__init__(f"history begins at {oldest}")
        self.oldest = oldest


class ObjectStore:
    """Objects with one version that increases with each change, like etcd's revision.

    Args:
        history: how many changes to remember at most.
    """

    def __init__(self, history: int = 100_000) -> None:
        self.version = 1
        self.oldest = 1
        self._objects: defaultdict[Resource, dict[Key, Object]] = defaultdict(dict)
        self._history: deque[Event] = deque(maxlen=history)
        self._snapshots: dict[Resource, tuple[int, dict[Key, Object]]] = {}
        self._listeners: set[Callable[[], None]] = set()

    def apply(self, resource: Resource, obj: Object) -> Object:
        """Create or replace an object, and return it as stored: complete, with its version."""
        kept = copy.deepcopy(obj)
        kept = {"kind": resource.kind, "apiVersion": resource.group_version, **kept}
        meta = metadata(kept)
        if resource.namespaced:
            meta.setdefault("namespace", "default")
        before = self._objects[resource].get(_key(kept))
        was = metadata(before) if before else {}
        meta["uid"] = was.get("uid") or meta.get("uid") or str(uuid.uuid4())
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        created = was.get("creationTimestamp") or meta.get("creationTimestamp") or now
        meta["creationTimestamp"] = created
        self._record(resource, "MODIFIED" if before else "ADDED", kept, before)
        self._objects[resource][_key(kept)] = kept
        return kept

    def delete(self, resource: Resource, namespace: str, name: str) -> Object:
        """Delete an object, and return its last state.

        Raises:
            KeyError: no object has that name.
        """
        before = self._objects[resource].pop((namespace, name))
        last = {**before, "metadata": dict(metadata(before))}
        self._record(resource, "DELETED", last, before)
        return last

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return the object of that name; None if it does not exist."""
        return self._objects[resource].get((namespace, name))

    def snapshot(self, resource: Resource, version: int) -> dict[Key, Object]:
        """Return the objects at a version, sorted by namespace and name; do not modify them.

        Raises:
            ExpiredError: the version is no longer known.
        """
        at, objects = self._snapshots.get(resource, (0, {}))
        if at != version:
            objects = dict(self._objects[resource])
            for event in reversed(self.since(resource, version)):
                if event.before is None:
                    del objects[_key(event.object)]
                else:
                    objects[_key(event.object)] = event.before
            objects = dict(sorted(objects.items()))
            self._snapshots[resource] = version, objects
        return objects

    def since(self, resource: Resource, version: int) -> Sequence[Event]:
        """Return the changes after a version, oldest first.

        Raises:
            ExpiredError: some of them are no longer known.
        """
        if version < self.oldest:
            raise ExpiredError(self.oldest)
        newer = itertools.takewhile(lambda event: event.version > version, reversed(self._history))
        return [event for event in newer if event.resource == resource][::-1]

    def compact(self) -> None:
        """Drop the history, so that every version before the current one is expired."""
        self._history.clear()
        self._snapshots.clear()
        self.oldest = self.version

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a function after each change; return a function that unsubscribes it."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def _record(
        self,
        resource: Resource,
        kind: Literal["ADDED", "MODIFIED", "DELETED"],
        obj: Object,
        before: Object | None,
    ) -> None:
        self.version += 1
        metadata(obj)["resourceVersion"] = str(self.version)
        if len(self._history) == self._history.maxlen:
            self.oldest = self._history[0].version
        self._history.append(Event(self.version, resource, kind, obj, before))
        for listener in tuple(self._listeners):
            listener()


def metadata(obj: Object) -> Object:
    """Return the metadata of an object.

    Raises:
        ValueError: it has no metadata.
    """
    meta = obj.get("metadata")
    if not isinstance(meta, dict):
        raise ValueError("an object without metadata")  # noqa: TRY004 - the value is invalid, not its type
    return meta


def labels(obj: Object) -> dict[str, str]:
    """Return metadata.labels."""
    found = metadata(obj).get("labels")
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _key(obj: Object) -> Key:
    meta = metadata(obj)
    return str(meta.get("namespace", "")), str(meta["name"])
