"""The pods of the cluster by namespace, kept up to date by a reflector."""

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

from metrics_server.errors import NoPodMatchesError
from metrics_server.kube.pods import Pod


class PodStore:
    """The known pods of the cluster by namespace."""

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[str, Pod]] = {}
        self._listed: dict[str, tuple[Pod, ...]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._namespaces.values()))

    def get(self, namespace: str, name: str) -> Pod | None:
        """Return the pod of that name, if it is known."""
        return self._namespaces.get(namespace, {}).get(name)

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """Return every pod of a namespace: the same object until one of them changes."""
        pods = self._listed.get(namespace)
        if pods is None:
            pods = tuple(self._namespaces.get(namespace, {}).values())
            if pods:
                self._listed[namespace] = pods
        return pods

    def replace(self, items: Iterable[Pod]) -> None:
        """Replace all pods."""
        namespaces: dict[str, dict[str, Pod]] = {}
        for pod in items:
            namespaces.setdefault(pod.namespace, {})[pod.name] = pod
        self._namespaces = namespaces
        self._listed = {}

    def apply(self, kind: Literal["ADDED", "MODIFIED", "DELETED"], item: Pod) -> None:
        """Apply one change."""
        pods = self._namespaces.setdefault(item.namespace, {})
        if kind != "DELETED":
            if pods.get(item.name) == item:
                return  # the change affects no field that is kept here
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
        """Return every pod of a namespace: the same object until one of them changes."""


class PodStores:
    """The pods of some namespaces only, with one store for each."""

    def __init__(self, stores: Mapping[str, NamespacePods]) -> None:
        self._stores = stores

    def __len__(self) -> int:
        return sum(map(len, self._stores.values()))

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """Return every pod of a namespace.

        Raises:
            NoPodMatchesError: the namespace is not watched.
        """
        store = self._stores.get(namespace)
        if store is None:
            raise NoPodMatchesError(
                f'namespace "{namespace}" is not watched: it is not in the setting pods.namespaces '
                "of gpu-metrics-server"
            )
        return store.in_namespace(namespace)
