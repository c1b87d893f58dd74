"""What one client, and all of them together, may cost: values."""

from msgspec import Struct


class Limits(Struct, frozen=True):
    """What one client, and all of them, may cost; times are in seconds.

    A verified peer is one whose client certificate an authority of the cluster vouches for, such as
    kube-apiserver. It sends each group of a user in a line of its own, and some users have
    thousands; Go's servers take up to 1 MiB of head.

    Attributes:
        handshake: how long TLS may take to begin.
        head: how long the head of a request may take to come: the first from the end of the
            handshake, another from its first byte. The default is kube-apiserver's own
            (ReadHeaderTimeout in k8s.io/apiserver/pkg/server/secure_serving.go).
        head_bytes: how long it may be.
        head_lines: how many lines it may have.
        verified_head_bytes: the same for verified peers.
        verified_head_lines: likewise.
        heads: bytes of all heads, until they are answered, and of what is sent meanwhile.
        body: bytes of a request's body, which nothing here takes, that are read and discarded.
        taking: how long a client may leave an answer unread.
        answers: bytes of all answers that wait to be read.
        keepalive: how long a connection may be idle between requests. kube-apiserver's aggregator
            keeps its own for 90 seconds: ours must not be closed first.
        unverified: connections of all peers that are not verified, or not yet.
        per_peer: those of them from one address.
        verified: connections of all verified peers.
        drain: how long requests under way may take at the end: more than a scrape does.
    """

    handshake: float = 10
    head: float = 32
    head_bytes: int = 64 * 1024
    head_lines: int = 64
    verified_head_bytes: int = 1024 * 1024
    verified_head_lines: int = 8192
    heads: int = 16 * 1024 * 1024
    body: int = 1024 * 1024
    taking: float = 10
    answers: int = 16 * 1024 * 1024
    keepalive: float = 120
    unverified: int = 256
    per_peer: int = 64
    verified: int = 1600
    drain: float = 10


DEFAULT = Limits()
