"""Authentication: a request's credentials, tried in the order that Go servers try them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog
from msgspec import Struct
from msgspec.structs import replace

from metrics_server.auth.client_certificates import (
    ClientCAs,
    VerifiedCertificate,
)
from metrics_server.auth.delegation import DelegatedAuthentication
from metrics_server.auth.identity import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User
from metrics_server.auth.request_header import (
    Lines,
    RequestHeaderConfig,
    identity_lines,
    user_from_lines,
)
from metrics_server.auth.tokens import TokenReviews, bearer_token
from metrics_server.common.weight import BytesLRU, weight
from metrics_server.errors import KubernetesError, TooManyReviewsError, UnauthorizedError
from metrics_server.telemetry.sparing import SparingLog
from metrics_server.tls.peer import PeerCertificates

Outcome = Literal[
    "request-header",
    "client-certificate",
    "token",
    "anonymous",
    "unauthorized",
    "review-failed",
    "too-many-reviews",
]
"""How a request was authenticated, or why it was not."""

_MAX_PEERS_BYTES = 4 * 1024 * 1024
_MAX_USERS_BYTES = 8 * 1024 * 1024
# A certificate that is rejected now may be accepted later, once its validity begins.
_REJECTION_LASTS = timedelta(minutes=1)

log = structlog.stdlib.get_logger(__name__)


class PeerIdentity(Struct, frozen=True):
    """The identities that the certificate of a connection's peer proves.

    Attributes:
        front_proxy: the certificate as verified under the CAs of front proxies; None if it fails.
        client: the certificate as verified under the CAs of users; None if it fails.
        expires: when to verify it again.
    """

    front_proxy: VerifiedCertificate | None
    client: VerifiedCertificate | None
    expires: datetime


class Authenticator:
    """Authenticates the callers of requests.

    Call `trust` before the first request, and again whenever the trusted CAs change.

    Args:
        tokens: reviews bearer tokens.
        count: called with the outcome of each request.
        clock: returns the current time, with its zone.
    """

    def __init__(
        self,
        tokens: TokenReviews,
        count: Callable[[Outcome], None],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tokens = tokens
        self._count = count
        self._log = SparingLog(log)
        self._clock = clock
        self._peers: BytesLRU[bytes, PeerIdentity] = BytesLRU(_MAX_PEERS_BYTES)
        # Front proxies name the same few users again and again.
        self._proxied_users: BytesLRU[Lines, User] = BytesLRU(_MAX_USERS_BYTES)
        self.trust(DelegatedAuthentication())

    def trust(self, delegated: DelegatedAuthentication) -> None:
        """Trust these CAs from now on, and drop every identity verified under the previous ones.

        Raises:
            ValueError: a bundle contains no certificate, or one that cannot be parsed.
        """
        front_proxies = _authorities(delegated.request_header_ca)
        clients = _authorities(delegated.client_ca)
        self._front_proxies, self._clients = front_proxies, clients
        self._request_header = delegated.request_header or RequestHeaderConfig()
        self._peers.clear()
        self._proxied_users.clear()

    async def authenticate(
        self, peer: PeerCertificates | None, headers: Iterable[tuple[str, str]], address: str = ""
    ) -> User:
        """Return the caller, with the group system:authenticated added.

        As in a union of Go's authenticators, when one fails the next is tried, and the request is
        rejected if none succeeds and at least one has failed. So a front proxy that is not allowed
        is rejected, unless it sends its own token; its identity headers are ignored.

        Args:
            peer: the certificates that the connection's peer presented; None without any.
            headers: every header line of the request, in the order received.
            address: the address of the peer, whose quota of reviews the request uses.

        Raises:
            UnauthorizedError: the request has credentials, but none of them is valid.
            TooManyReviewsError: too many new tokens came from this address.
        """
        try:
            user, outcome = await self._identify(peer, tuple(headers), address)
        except KubernetesError as error:
            self._log.warning("token review failed", peer=address, error=str(error))
            self._count("review-failed")
            raise UnauthorizedError from None
        except UnauthorizedError:
            self._count("unauthorized")
            raise
        except TooManyReviewsError:
            self._count("too-many-reviews")
            raise
        self._count(outcome)
        return user

    def peer(self, peer: PeerCertificates) -> PeerIdentity:
        """Return what a peer's certificate proves; the result is cached until it expires."""
        now = self._clock()
        known = self._peers.get(peer.digest)
        if known is None or now > known.expires:
            known = self._verify(peer, now)
            self._peers.put(peer.digest, known, weight(known))
        return known

    def verifies(self, peer: PeerCertificates) -> bool:
        """Whether a peer's certificate verifies under any of the trusted CAs."""
        identity = self.peer(peer)
        return identity.front_proxy is not None or identity.client is not None

    def identity(self, headers: Iterable[tuple[str, str]]) -> Lines:
        """Return the headers in which a front proxy names the caller."""
        return identity_lines(self._request_header, headers)

    def is_named(self, identity: Lines, by: PeerCertificates, seconds: float) -> bool:
        """Whether a front proxy named the caller, and may do so for that many seconds more."""
        peer, until = self.peer(by), self._clock() + timedelta(seconds=seconds)
        named = self._proxied_users.get(identity) is not None
        return named and self._is_proxy(peer) and until < peer.expires

    async def _identify(
        self, shown: PeerCertificates | None, headers: Sequence[tuple[str, str]], address: str
    ) -> tuple[User, Outcome]:
        peer = self.peer(shown) if shown is not None else None
        if peer is not None:
            if (user := self._proxied(peer, headers)) is not None:
                return user, "request-header"
            if (client := peer.client) is not None and client.common_name:
                user = User(client.common_name, groups=client.organizations)
                return _in_group(user), "client-certificate"
        token = bearer_token(headers)
        if token is not None:
            if (user := await self._tokens.user(token, address)) is None:
                raise UnauthorizedError
            return _in_group(user), "token"
        if peer is not None:
            self._log.info(
                "client certificate rejected", peer=address, error=self._why_rejected(peer)
            )
            raise UnauthorizedError
        return ANONYMOUS, "anonymous"

    def _proxied(self, peer: PeerIdentity, headers: Sequence[tuple[str, str]]) -> User | None:
        """Return the user that a front proxy names; None if it names none or isn't allowed to."""
        if not self._is_proxy(peer):
            return None
        lines = self.identity(headers)
        user = self._proxied_users.get(lines)
        if user is None and (named := user_from_lines(self._request_header, lines)) is not None:
            user = _in_group(named)
            self._proxied_users.put(lines, user, weight(lines) + weight(user))
        return user

    def _is_proxy(self, peer: PeerIdentity) -> bool:
        proxy = peer.front_proxy
        return proxy is not None and self._request_header.allows(proxy.common_name)

    def _verify(self, peer: PeerCertificates, now: datetime) -> PeerIdentity:
        front_proxy = self._front_proxies.verify(peer.chain, now) if self._front_proxies else None
        client = self._clients.verify(peer.chain, now) if self._clients else None
        ends = [one.expires for one in (front_proxy, client) if one is not None]
        return PeerIdentity(front_proxy, client, min(ends, default=now + _REJECTION_LASTS))

    def _why_rejected(self, peer: PeerIdentity) -> str:
        if peer.front_proxy is None:
            if peer.client is not None:
                return "its subject has no common name"
            return "it does not verify under any trusted CA"
        name = peer.front_proxy.common_name
        if self._request_header.allows(name):
            return f'the front proxy "{name}" sent no user name'
        allowed = ", ".join(self._request_header.allowed_names)
        return f'"{name}" is not an allowed front proxy; allowed: {allowed}'


def _authorities(pem: bytes | None) -> ClientCAs | None:
    return None if pem is None else ClientCAs(pem)


def _in_group(user: User) -> User:
    """Return the user with system:authenticated added, as Go's AuthenticatedGroupAdder does.

    A user that a front proxy reports as anonymous is returned unchanged.
    """
    if user.name == ANONYMOUS.name or not {AUTHENTICATED, UNAUTHENTICATED}.isdisjoint(user.groups):
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))
