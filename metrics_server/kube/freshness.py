"""Pods, for as long as they are known to be those of the cluster."""

from metrics_server.errors import PodsUnknownError
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod
from metrics_server.kube.reflector import Reflector


class WatchedPods:
    """The pods of a store, refused while what keeps it in step has lost touch with the cluster.

    Args:
        store: holds the pods.
        reflector: keeps it in step.
    """

    def __init__(self, store: PodStore, reflector: Reflector[Pod]) -> None:
        self._store = store
        self._reflector = reflector

    def __len__(self) -> int:
        return len(self._store)

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """Every pod of a namespace: the same object for as long as none of them has changed.

        Raises:
            PodsUnknownError: they have not been listed yet, or may have changed unnoticed.
        """
        if not self._reflector.synced.is_set():
            raise PodsUnknownError(
                "the pods of the cluster are not known yet: the server has just started, or the "
                "Kubernetes API does not list them to it; /readyz and its log say which"
            )
        if self._reflector.is_stale:
            raise PodsUnknownError(
                "the pods may have changed unnoticed: the Kubernetes API has told the server "
                f"nothing about them for {self._reflector.silence:.0f} seconds; /readyz and its "
                "log say why"
            )
        return self._store.in_namespace(namespace)
