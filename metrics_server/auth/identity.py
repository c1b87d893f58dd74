"""Who asks."""

from msgspec import Struct

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"


class User(Struct, frozen=True, cache_hash=True):
    """An authenticated user, as user.Info of k8s.io/apiserver tells one.

    Attributes:
        name: such as system:serviceaccount:kube-system:horizontal-pod-autoscaler.
        uid: "" where none is told.
        groups: in the order they were told.
        extra: by key, in the order they were told; every part of an identity counts when it is
            compared, so all of it is here, and it is hashable.
    """

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ANONYMOUS = User("system:anonymous", groups=(UNAUTHENTICATED,))
