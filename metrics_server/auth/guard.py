"""The guard of the API: authenticates and authorizes each request before it is answered."""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.delegation import DelegatedAuthentication
from metrics_server.auth.identity import User
from metrics_server.auth.request_header import Lines
from metrics_server.auth.request_info import Attributes, attributes_of
from metrics_server.common.weight import BytesLRU, weight
from metrics_server.errors import ForbiddenError
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.peer import PeerCertificates

if TYPE_CHECKING:
    from metrics_server.tls.openssl import ServerTls

_MAX_ADMITTED_BYTES = 8 * 1024 * 1024

_Admitted = BytesLRU[tuple[bytes, Lines, str, str, str], float]


class Authenticator(Protocol):
    """Authenticates the caller of a request."""

    def trust(self, delegated: DelegatedAuthentication) -> None:
        """Trust these CAs from now on.

        Raises:
            ValueError: a bundle contains no certificate, or one that cannot be parsed.
        """

    def identity(self, headers: Iterable[tuple[str, str]]) -> Lines:
        """Return the headers in which a front proxy names the caller."""

    def is_named(self, identity: Lines, by: PeerCertificates, seconds: float) -> bool:
        """Whether a front proxy named the caller, and may do so for that many seconds more."""

    async def authenticate(
        self, peer: PeerCertificates | None, headers: Iterable[tuple[str, str]], address: str = ""
    ) -> User:
        """Return the caller.

        Args:
            peer: the certificates that the client presented; None without any. The client has
                proved that it has the key of the first, but none of them is verified yet.
            headers: every header line of the request, in the order received.
            address: the address of the peer, whose quota of reviews the request uses.

        Raises:
            UnauthorizedError: the credentials are not valid.
            TooManyReviewsError: too many new credentials came from this address.
        """


class Guard:
    """Lets a request pass, or raises the error to answer it with.

    Args:
        authenticator: authenticates the caller.
        authorizer: decides whether the caller may make the request.
        monitor: counts the decisions.
        clock: monotonic seconds; the authorizer's.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        authorizer: Authorizer,
        monitor: Monitor,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._monitor = monitor
        self._clock = clock
        # Until when a front proxy's request is allowed. A decision is cached by the authorizer
        # too, but finding it there costs as much as the answer.
        self._admitted: _Admitted = BytesLRU(_MAX_ADMITTED_BYTES)

    def trust(self, delegated: DelegatedAuthentication) -> None:
        """Trust these CAs from now on, and forget what was decided under the previous ones.

        Raises:
            ValueError: a bundle contains no certificate, or one that cannot be parsed.
        """
        self._authenticator.trust(delegated)
        self._admitted = BytesLRU(_MAX_ADMITTED_BYTES)

    async def __call__(self, request: web.BaseRequest) -> None:
        """Return if the request may be answered.

        Raises:
            UnauthorizedError: its credentials are not valid.
            ForbiddenError: the caller may not make it.
            BadRequestError: its path or headers are malformed.
            ReviewError: the Kubernetes API did not decide.
            TooManyReviewsError: the caller caused too many reviews.
        """
        headers, peer, url = request.headers.items(), _peer(request), request.rel_url
        method, path, query = request.method, url.raw_path, url.raw_query_string
        identity = self._authenticator.identity(headers)
        key = (b"" if peer is None else peer.digest, identity, method, path, query)
        # Those of the CAs that are trusted now, even if they change during a review.
        admitted = self._admitted
        if self._clock() < (admitted.get(key) or 0):
            self._monitor.admitted()
            return
        address = request.remote or ""
        user = await self._authenticator.authenticate(peer, headers, address)
        until = await self._authorize(user, attributes_of(method, path, query), address)
        left = until - self._clock()
        if peer is not None and self._authenticator.is_named(identity, peer, left):
            admitted.put(key, until, weight(key))

    async def _authorize(self, user: User, attributes: Attributes, address: str) -> float:
        try:
            until = await self._authorizer.authorize(user, attributes, address)
        except ForbiddenError:
            self._monitor.authorized("denied")
            raise
        except Exception:
            self._monitor.authorized("error")
            raise
        self._monitor.authorized("allowed")
        return until


def _peer(request: web.BaseRequest) -> PeerCertificates | None:
    """Return the client's certificates; None without TLS, or if the connection is closed."""
    tls: ServerTls | None = request.get_extra_info("ssl_object")
    return None if tls is None else tls.peer
