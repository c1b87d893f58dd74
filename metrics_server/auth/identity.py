"""The identity of a caller."""

from msgspec import Struct

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"


class User(Struct, frozen=True, cache_hash=True):
    """An authenticated user, like user.Info of k8s.io/apiserver.

    Attributes:
        name: such as system:serviceaccount:kube-system:horizontal-pod-autoscaler.
        uid: "" if unknown.
        groups: in the order received.
        extra: by key, in the order received; two identities are equal only if every part of them
            is, so all of it is kept, in a hashable form.
    """

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ANONYMOUS = User("system:anonymous", groups=(UNAUTHENTICATED,))
