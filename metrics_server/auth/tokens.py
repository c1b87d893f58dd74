"""Bearer tokens: the Kubernetes API identifies their users, by TokenReview."""

import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import msgspec
import structlog
from msgspec import Struct

from metrics_server.auth.identity import User
from metrics_server.auth.reviewing import REVIEW_SECONDS, Reviewing, unknown_callers
from metrics_server.common.lookups import SharedLookups
from metrics_server.errors import KubernetesError, TooManyReviewsError, UnauthorizedError
from metrics_server.kube.client import KubernetesClient
from metrics_server.telemetry.sparing import SparingLog

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path

# As in Go servers: short enough to drop a revoked token soon, long enough for bursts.
_TTL_SECONDS = 10
_MAX_REMEMBERED_BYTES = 8 * 1024 * 1024
# Anyone can send a token: reviews must leave connections for the watches.
_MAX_UNDER_WAY = 32

log = structlog.stdlib.get_logger(__name__)


class _UserInfo(Struct):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str] | None] | None = None


class _Status(Struct):
    authenticated: bool = False
    user: _UserInfo | None = None
    error: str = ""


class _TokenReview(Struct):
    kind: Literal["TokenReview"]
    status: _Status


_decode = msgspec.json.Decoder(_TokenReview).decode


def bearer_token(headers: Iterable[tuple[str, str]]) -> str | None:
    """Return a request's bearer token; None without one, or with another kind of credentials.

    Only the first Authorization header counts, as in a Go server.
    """
    for name, value in headers:
        if name.lower() == "authorization":
            scheme, _, rest = value.strip().partition(" ")
            token = rest.partition(" ")[0]
            return token if scheme.lower() == "bearer" and token else None
    return None


class TokenReviews:
    """Identifies the users of bearer tokens.

    An answer is cached for 10 s under a hash of the token, keyed with a secret of this process;
    the token itself is neither stored nor logged. Concurrent requests with the same token share
    one review.

    Args:
        client: the client of the Kubernetes API; its user needs the ClusterRole
            system:auth-delegator.
        timeout: how long a review may take, including retries, in seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        client: KubernetesClient,
        *,
        timeout: float = REVIEW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reviews = Reviewing(client, TOKEN_REVIEWS, timeout=timeout, under_way=_MAX_UNDER_WAY)
        self._key = secrets.token_bytes(32)
        self._users: SharedLookups[bytes, User | None] = SharedLookups(
            ttl=_TTL_SECONDS, max_bytes=_MAX_REMEMBERED_BYTES, clock=clock
        )
        self._rates = unknown_callers(clock)
        self._log = SparingLog(log, clock=clock)

    async def user(self, token: str, address: str = "") -> User | None:
        """Return the user of a token; None if it has no user.

        Args:
            token: as sent.
            address: the address of the peer, whose quota of reviews the token uses.

        Raises:
            TooManyReviewsError: too many new tokens came from this address, or in total.
            UnauthorizedError: the review returned an error, usually because the token is invalid.
            KubernetesError: the review failed, or its answer cannot be parsed.
        """
        key = hmac.digest(self._key, token.encode(errors="surrogateescape"), "sha256")
        return await self._users.get(key, partial(self._review, token, address))

    async def _review(self, token: str, address: str) -> User | None:
        if not self._rates.allow(address):
            raise TooManyReviewsError
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        try:
            body = await self._reviews.send(review)
        except KubernetesError as error:
            message = f"the TokenReview failed: {_without(token, str(error))}"
            raise KubernetesError(message, error.code) from None
        status = _status(body)
        if status.authenticated:
            return _user(status)
        self._log.info("token rejected", peer=address, error=_without(token, status.error) or None)
        if status.error:
            raise UnauthorizedError
        return None


def _without(token: str, text: str) -> str:
    return text.replace(token, "(the token)")


def _status(body: bytes) -> _Status:
    try:
        return _decode(body).status
    except (msgspec.DecodeError, ValueError) as error:
        raise KubernetesError(f"the TokenReview's answer is malformed: {error}") from None


def _user(status: _Status) -> User:
    if status.user is None or not status.user.username:
        raise KubernetesError("the TokenReview accepted a token without naming a user")
    user = status.user
    return User(
        user.username,
        uid=user.uid,
        groups=tuple(user.groups or ()),
        extra=tuple(
            (key, tuple(values or ())) for key, values in sorted((user.extra or {}).items())
        ),
    )
