"""Pods that are known to be up to date."""

from metrics_server.errors import PodsUnknownError
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod
from metrics_server.kube.reflector import Reflector


class WatchedPods:
    """The pods of a store, for as long as its reflector is in contact with the cluster.

    Args:
        store: the pods.
        reflector: keeps the store in sync.
    """

    def __init__(self, store: PodStore, reflector: Reflector[Pod]) -> None:
        self._store = store
        self._reflector = reflector

    def __len__(self) -> int:
        return len(self._store)

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """Return every pod of a namespace: the same object until one of them changes.

        Raises:
            PodsUnknownError: they have not been listed yet, or may be out of date.
        """
        if not self._reflector.synced.is_set():
            raise PodsUnknownError(
                "the pods of the cluster are not known yet: the server has just started, or it "
                "cannot list them from the Kubernetes API; /readyz and its log say which"
            )
        if self._reflector.is_stale:
            raise PodsUnknownError(
                "the pods may be out of date: the server has heard nothing from the Kubernetes "
                f"API for {self._reflector.silence:.0f} seconds; /readyz and its log say why"
            )
        return self._store.in_namespace(namespace)
