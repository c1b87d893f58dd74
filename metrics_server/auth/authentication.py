"""Who asks: the credentials of a request, tried in the order that Go servers try them."""

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
# A certificate that is refused now may be good later, when it has become valid.
_REFUSAL_LASTS = timedelta(minutes=1)

log = structlog.stdlib.get_logger(__name__)


class PeerIdentity(Struct, frozen=True):
    """What the certificate of a connection's peer is worth.

    Attributes:
        front_proxy: as verified under the authorities of front proxies; None where they refuse it.
        client: as verified under the authorities of users; None likewise.
        expires: when to verify it again.
    """

    front_proxy: VerifiedCertificate | None
    client: VerifiedCertificate | None
    expires: datetime


class Authenticator:
    """Tells who asks.

    To be told whom to trust by `trust`, at first and whenever that changes.

    Args:
        tokens: reviews bearer tokens.
        count: told the outcome for each request.
        clock: the time, with its zone.
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
        """Trust these authorities from now on, and forget what those before vouched for.

        Raises:
            ValueError: a bundle holds no certificate, or one that cannot be read.
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
        """The user who asks; a group that says that they are authenticated is added.

        As in a union of Go's authenticators, one that fails leaves it to the next, and the request
        is refused if none succeeds and one has failed. So a front proxy that is not allowed is
        refused, unless it brings a token of its own, and what it says of others is not listened to.

        Args:
            peer: the certificates that the connection's peer showed; None where it showed none.
            headers: all of the request, line by line, in the order they came.
            address: where the request came from, to which its reviews are charged.

        Raises:
            UnauthorizedError: there are credentials, and none of them is good.
            TooManyReviewsError: too many new tokens came from there.
        """
        try:
            user, outcome = await self._identify(peer, tuple(headers), address)
        except KubernetesError as error:
            self._log.warning("a token could not be reviewed", peer=address, error=str(error))
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
        """What a peer's certificate is worth; verified once, until that expires."""
        now = self._clock()
        known = self._peers.get(peer.digest)
        if known is None or now > known.expires:
            known = self._verify(peer, now)
            self._peers.put(peer.digest, known, weight(known))
        return known

    def vouches_for(self, peer: PeerCertificates) -> bool:
        """Whether a peer's certificate verifies under any of the authorities that are trusted."""
        identity = self.peer(peer)
        return identity.front_proxy is not None or identity.client is not None

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
                "a client certificate was refused", peer=address, error=self._why_refused(peer)
            )
            raise UnauthorizedError
        return ANONYMOUS, "anonymous"

    def _proxied(self, peer: PeerIdentity, headers: Sequence[tuple[str, str]]) -> User | None:
        """Whom a front proxy asks for; None where the peer is none, or names nobody."""
        if peer.front_proxy is None or not self._request_header.allows(
            peer.front_proxy.common_name
        ):
            return None
        lines = identity_lines(self._request_header, headers)
        user = self._proxied_users.get(lines)
        if user is None and (named := user_from_lines(self._request_header, lines)) is not None:
            user = _in_group(named)
            self._proxied_users.put(lines, user, weight(lines) + weight(user))
        return user

    def _verify(self, peer: PeerCertificates, now: datetime) -> PeerIdentity:
        front_proxy = self._front_proxies.verify(peer.chain, now) if self._front_proxies else None
        client = self._clients.verify(peer.chain, now) if self._clients else None
        ends = [one.expires for one in (front_proxy, client) if one is not None]
        return PeerIdentity(front_proxy, client, min(ends, default=now + _REFUSAL_LASTS))

    def _why_refused(self, peer: PeerIdentity) -> str:
        if peer.front_proxy is None:
            return "its subject has no common name" if peer.client else "no authority vouches"
        name = peer.front_proxy.common_name
        if self._request_header.allows(name):
            return f'the front proxy "{name}" names no user'
        allowed = ", ".join(self._request_header.allowed_names)
        return f'"{name}" is none of the front proxies that are allowed: {allowed}'


def _authorities(pem: bytes | None) -> ClientCAs | None:
    return None if pem is None else ClientCAs(pem)


def _in_group(user: User) -> User:
    """The user with the group of all who are authenticated, as Go's AuthenticatedGroupAdder.

    Not one whom a front proxy has taken for anonymous: that stays what it is.
    """
    if user.name == ANONYMOUS.name or not {AUTHENTICATED, UNAUTHENTICATED}.isdisjoint(user.groups):
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))
