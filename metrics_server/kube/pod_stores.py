"""The pods of the cluster by namespace, kept up to date by a reflector."""

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

from metrics_server.errors import NoPodMatchesError
from metrics_server.kube.pods import Pod


class PodStore:
    """The pods of the cluster by namespace, as far as they are known here."""

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[str, Pod]] = {}
        self._listed: dict[str, tuple[Pod, ...]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._namespaces.values()))

    def get(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name, if it is known."""
        return self._namespaces.get(namespace, {}).get(name)

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """Every pod of a namespace: the same tuple until one of them changes."""
        pods = self._listed.get(namespace)
        if pods is None:
            pods = tuple(self._namespaces.get(namespace, {}).values())
            if pods:
                self._listed[namespace] = pods
        return pods

    def replace(self, items: Iterable[Pod]) -> None:
        """Hold exactly these pods from now on."""
        namespaces: dict[str, dict[str, Pod]] = {}
        for pod in items:
            namespaces.setdefault(pod.namespace, {})[pod.name] = pod
        self._namespaces = namespaces
        self._listed = {}

    def apply(self, kind: Literal["ADDED", "MODIFIED", "DELETED"], item: Pod) -> None:
        """Take over one change."""
        pods = self._namespaces.setdefault(item.namespace, {})
        if kind != "DELETED":
            if pods.get(item.name) == item:
                return  # what has changed of the pod is nothing that is kept here
            pods[item.name] = item
        else:
            pods.pop(item.name, None)
            if not pods:
                del self._namespaces[item.namespace]
        self._listed.pop(item.namespace, None)


class NamespacePods(Protocol):
    """The pods of some namespaces."""

    def __len__(self) -> int: ...

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """Every pod of a namespace: the same tuple until one of them changes."""


class PodStores:
    """The pods of some namespaces only, each kept in a store of its own."""

    def __init__(self, stores: Mapping[str, NamespacePods]) -> None:
        self._stores = stores

    def __len__(self) -> int:
        return sum(map(len, self._stores.values()))

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """Every pod of a namespace.

        Raises:
            NoPodMatchesError: the namespace is not one of those.
        """
        store = self._stores.get(namespace)
        if store is None:
            raise NoPodMatchesError(
                f'namespace "{namespace}" is not watched: the setting pods.namespaces of '
                "gpu-metrics-server leaves it out"
            )
        return store.in_namespace(namespace)
