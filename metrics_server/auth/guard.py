"""What stands in front of the API: nothing is answered before who asks is known, and may."""

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
    """Finds out who sends a request."""

    async def authenticate(
        self, peer: PeerCertificates | None, headers: Iterable[tuple[str, str]], address: str = ""
    ) -> User:
        """The sender.

        Args:
            peer: the certificates that the client showed; None if it showed none. It has proved to
                hold the key of the first. What that is worth is for the authenticator to decide.
            headers: all of the request, line by line, in the order they came.
            address: where the request came from, to which its reviews are charged.

        Raises:
            UnauthorizedError: the credentials are not good.
            TooManyReviewsError: too many new ones came from there.
        """


class Guard:
    """Lets a request pass, or raises what it is answered by.

    Args:
        authenticator: finds out who asks.
        authorizer: decides whether they may.
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
            UnauthorizedError: its credentials are not good.
            ForbiddenError: its sender may not do that.
            BadRequestError: it cannot be told what it asks for.
            ReviewError: whether they may could not be found out.
            TooManyReviewsError: their reviews are too many.
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
    """What the client showed; none where there is no TLS, or no connection any more."""
    tls: ServerTls | None = request.get_extra_info("ssl_object")
    return None if tls is None else tls.peer
