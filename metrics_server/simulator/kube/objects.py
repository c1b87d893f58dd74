"""What a Kubernetes API holds: objects of a few resources, their versions, and their history."""

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
    """A kind of object, as discovery tells it.

    Attributes:
        group: its API group; "" is the core one.
        version: of the group.
        name: its plural, as in a path.
        kind: of one object.
        short: what kubectl takes for it too.
        namespaced: whether its objects lie in namespaces.
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
AUTOSCALERS = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", ("hpa",)
)
SECRETS = Resource("", "v1", "secrets", "Secret")
API_SERVICES = Resource(
    "apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False
)
RESOURCES = (
    PODS,
    NODES,
    CONFIG_MAPS,
    SECRETS,
    ENDPOINT_SLICES,
    DEPLOYMENTS,
    AUTOSCALERS,
    API_SERVICES,
)


class Event(Struct, frozen=True):
    """One change.

    Attributes:
        version: the resourceVersion that it made.
        resource: of its object.
        type: as in a watch.
        object: as it is after the change, or was before it was deleted.
        before: the object before; None where there was none.
    """

    version: int
    resource: Resource
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object
    before: Object | None


class ExpiredError(Exception):
    """What is asked for lies before the history that is kept.

    Attributes:
        oldest: the oldest version that is known still.
    """

    def __init__(self, oldest: int) -> None:
        super().__init__(f"history begins at {oldest}")
        self.oldest = oldest


class ObjectStore:
    """Objects under one version that counts up with each change, as etcd's revision does.

    Args:
        history: how many changes are remembered at most.
    """

    def __init__(self, history: int = 100_000) -> None:
        self.version = 1
        self.oldest = 1
        self._objects: defaultdict[Resource, dict[Key, Object]] = defaultdict(dict)
        self._history: deque[Event] = deque(maxlen=history)
        self._snapshots: dict[Resource, tuple[int, dict[Key, Object]]] = {}
        self._listeners: set[Callable[[], None]] = set()

    def apply(self, resource: Resource, obj: Object) -> Object:
        """Put an object in its place and return it as it is kept: complete, with its version."""
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
        """Take an object away and return it as it was.

        Raises:
            KeyError: there is none of that name.
        """
        before = self._objects[resource].pop((namespace, name))
        last = {**before, "metadata": dict(metadata(before))}
        self._record(resource, "DELETED", last, before)
        return last

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object of that name; None where there is none."""
        return self._objects[resource].get((namespace, name))

    def snapshot(self, resource: Resource, version: int) -> dict[Key, Object]:
        """Every object as it was at a version, by namespace and name, sorted; not to be changed.

        Raises:
            ExpiredError: the version is not known any more.
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
        """The changes after a version, oldest first.

        Raises:
            ExpiredError: not all of them are known any more.
        """
        if version < self.oldest:
            raise ExpiredError(self.oldest)
        newer = itertools.takewhile(lambda event: event.version > version, reversed(self._history))
        return [event for event in newer if event.resource == resource][::-1]

    def compact(self) -> None:
        """Forget the history: what is older than now is expired from here on."""
        self._history.clear()
        self._snapshots.clear()
        self.oldest = self.version

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a function at each change; the answer is what ends that."""
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
    """The metadata of an object.

    Raises:
        ValueError: it has none.
    """
    meta = obj.get("metadata")
    if not isinstance(meta, dict):
        raise ValueError("an object without metadata")  # noqa: TRY004 - its value is at fault
    return meta


def labels(obj: Object) -> dict[str, str]:
    """metadata.labels."""
    found = metadata(obj).get("labels")
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _key(obj: Object) -> Key:
    meta = metadata(obj)
    return str(meta.get("namespace", "")), str(meta["name"])
