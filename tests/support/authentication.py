"""Users, front proxies, and the authorities that vouch for them."""

from metrics_server.auth.identity import User
from metrics_server.auth.request_header import RequestHeaderConfig
from metrics_server.tls.peer import PeerCertificates
from tests.support.client_certificates import Certified, authority, client, name

Lines = list[tuple[str, str]]

USERS = authority("kubernetes")
PROXIES = authority("front-proxy-ca")
REQUEST_HEADER = RequestHeaderConfig(
    username_headers=("X-Remote-User",),
    group_headers=("X-Remote-Group",),
    extra_headers_prefixes=("X-Remote-Extra-",),
    uid_headers=("X-Remote-Uid",),
    allowed_names=("front-proxy-client", "aggregator"),
)

PROXY = client(PROXIES)

ADMIN = client(USERS, name("admin", "ops", "dev"))

# The identity that an attacker would want.
ROOT: Lines = [
    ("X-Remote-User", "root"),
    ("X-Remote-Group", "system:masters"),
    ("X-Remote-Extra-Scopes", "all"),
]
ALICE = User("alice", groups=("dev", "system:authenticated"))


def bearer(token: str) -> Lines:
    """The header for a token."""
    return [("Authorization", f"Bearer {token}")]


def shown(peer: Certified | None) -> PeerCertificates | None:
    """What a peer's connection knows about its certificate."""
    return PeerCertificates((peer.der,)) if peer else None
