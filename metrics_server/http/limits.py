"""Limits on what one client, and all of them together, may cost."""

from msgspec import Struct


class Limits(Struct, frozen=True):
    """Limits of one client, and of all together; times are in seconds.

    A verified peer is one whose client certificate was issued by an authority of the cluster, such
    as kube-apiserver. It sends each group of a user in a separate line, and some users have
    thousands; Go servers accept up to 1 MiB of head.

    Attributes:
        handshake: how long the TLS handshake may take.
        head: how long the head of a request may take: the first from the end of the handshake,
            another from its first byte. The default is kube-apiserver's own
            (ReadHeaderTimeout in k8s.io/apiserver/pkg/server/secure_serving.go).
        head_bytes: the most bytes in it.
        head_lines: the most lines in it.
        verified_head_bytes: the same for verified peers.
        verified_head_lines: the same for verified peers.
        heads: bytes of all heads until they are answered, and of what is sent meanwhile.
        body: how many bytes of a request's body are read and discarded; no request needs one.
        lingering: how long the rest of it may take once the request is answered.
        taking: how long a client may leave an answer unread.
        answers: bytes of all answers that clients have not read.
        keepalive: how long a connection may be idle between requests. kube-apiserver's aggregator
            keeps its own for 90 seconds: ours must not be closed first.
        unverified: connections of all peers that are not, or not yet, verified.
        per_peer: how many of these may come from one address.
        verified: connections of all verified peers.
        drain: how long requests may take to finish when the server stops; longer than a scrape.
    """

    handshake: float = 10
    head: float = 32
    head_bytes: int = 64 * 1024
    head_lines: int = 64
    verified_head_bytes: int = 1024 * 1024
    verified_head_lines: int = 8192
    heads: int = 16 * 1024 * 1024
    body: int = 1024 * 1024
    lingering: float = 2
    taking: float = 10
    answers: int = 16 * 1024 * 1024
    keepalive: float = 120
    unverified: int = 256
    per_peer: int = 64
    verified: int = 1600
    drain: float = 10


DEFAULT = Limits()
