"""The guard of the API: authenticates and authorizes each request before it is answered."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.identity import User
from metrics_server.auth.request_info import Attributes, attributes_of
from metrics_server.errors import ForbiddenError
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.peer import PeerCertificates

if TYPE_CHECKING:
    from metrics_server.tls.openssl import ServerTls


class Authenticator(Protocol):
    """Authenticates the caller of a request."""

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
    """

    def __init__(
        self, authenticator: Authenticator, authorizer: Authorizer, monitor: Monitor
    ) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._monitor = monitor

    async def __call__(self, request: web.BaseRequest) -> None:
        """Return if the request may be answered.

        Raises:
            UnauthorizedError: its credentials are not valid.
            ForbiddenError: the caller may not make it.
            BadRequestError: its path or headers are malformed.
            ReviewError: the Kubernetes API did not decide.
            TooManyReviewsError: the caller caused too many reviews.
        """
        address = request.remote or ""
        user = await self._authenticator.authenticate(
            _peer(request), request.headers.items(), address
        )
        url = request.rel_url
        attributes = attributes_of(request.method, url.raw_path, url.raw_query_string)
        await self._authorize(user, attributes, address)

    async def _authorize(self, user: User, attributes: Attributes, address: str) -> None:
        try:
            await self._authorizer.authorize(user, attributes, address)
        except ForbiddenError:
            self._monitor.authorized("denied")
            raise
        except Exception:
            self._monitor.authorized("error")
            raise
        self._monitor.authorized("allowed")


def _peer(request: web.BaseRequest) -> PeerCertificates | None:
    """Return the client's certificates; None without TLS, or if the connection is closed."""
    tls: ServerTls | None = request.get_extra_info("ssl_object")
    return None if tls is None else tls.peer
