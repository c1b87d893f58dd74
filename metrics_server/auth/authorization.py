"""Authorization: the Kubernetes API decides whether a user may make a request."""

import json
import time
from collections.abc import Callable, Iterable

import msgspec
import structlog
from msgspec import Struct

from metrics_server.auth.access_reviews import decode, review_of
from metrics_server.auth.identity import ANONYMOUS, MASTERS, User
from metrics_server.auth.request_info import Attributes
from metrics_server.auth.reviewing import REVIEW_SECONDS, Reviewing, unknown_callers
from metrics_server.common.lookups import SharedLookups
from metrics_server.common.outages import Outage
from metrics_server.common.rates import Rate, Rates
from metrics_server.errors import (
    ConfigurationError,
    ForbiddenError,
    KubernetesError,
    ReviewError,
    TooManyReviewsError,
)
from metrics_server.kube.client import KubernetesClient

ALWAYS_ALLOW_PATHS = ("/healthz", "/livez", "/readyz")
"""The default of --authorization-always-allow-paths, as in servers built on k8s.io/apiserver."""

_PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
# These servers cache a decision for as long, whether it allows or denies.
_TTL_SECONDS = 10
_MAX_KEPT_BYTES = 16 * 1024 * 1024
# All of the HPA controller's questions come from one user: a thousand at each sync.
_USERS = (Rate(100, 1000), Rate(200, 2000))
# Anyone can send requests: reviews must leave connections for the watches.
_MAX_UNDER_WAY = 32
# Anything longer is neither a metric nor a path served here: it is reviewed, but not cached.
_MAX_KEPT_CHARACTERS = 1024

log = structlog.stdlib.get_logger(__name__)


class _Decision(Struct, frozen=True):
    allowed: bool
    reason: str
    until: float


class Authorizer:
    """Decides as servers built on k8s.io/apiserver do.

    The group system:masters may do everything, and everyone may read the paths that are always
    allowed. For anything else the Kubernetes API decides, by a SubjectAccessReview. Its decision
    is cached for 10 s for the same user and request; identical concurrent requests share a review.

    Anyone who may read a metric for all pods may read it for some: a request with selectors is
    first reviewed without them, and all HPAs of a namespace share that review. Only if that does
    not allow it is the full request reviewed.

    Args:
        client: the client of the Kubernetes API.
        always_allow_paths: paths that anyone may read, without a trailing slash; a path that ends
            in * matches by prefix.
        timeout: how long a review may take, including retries, in seconds.
        clock: monotonic seconds.

    Raises:
        ConfigurationError: a path has a * before its end.
    """

    def __init__(
        self,
        client: KubernetesClient,
        *,
        always_allow_paths: Iterable[str] = ALWAYS_ALLOW_PATHS,
        timeout: float = REVIEW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reviews = Reviewing(client, _PATH, timeout=timeout, under_way=_MAX_UNDER_WAY)
        self._allowed_paths, self._allowed_prefixes = _patterns(always_allow_paths)
        self._decisions: SharedLookups[tuple[User, Attributes], _Decision] = SharedLookups(
            ttl=_TTL_SECONDS, max_bytes=_MAX_KEPT_BYTES, clock=clock
        )
        self._clock = clock
        self._unknown = unknown_callers(clock)
        each, total = _USERS
        self._users = Rates(each=each, total=total, clock=clock)
        self._outage = Outage(log, "access reviews failing", "access reviews recovered")

    async def authorize(self, user: User, attributes: Attributes, address: str = "") -> float:
        """Return until when the user may make the request, on the clock given.

        Args:
            user: the caller.
            attributes: the request.
            address: where it came from; an anonymous user's reviews count against this address.

        Raises:
            ForbiddenError: the user may not.
            TooManyReviewsError: the user caused too many reviews.
            ReviewError: the Kubernetes API did not decide.
        """
        if MASTERS in user.groups or self._is_always_allowed(attributes):
            return self._clock() + _TTL_SECONDS
        try:
            decision = await self._decided(user, attributes, address)
        except ReviewError as error:
            self._outage.failed(error)
            raise
        if not decision.allowed:
            raise _forbidden(user, attributes, decision.reason)
        return decision.until

    async def _decided(self, user: User, attributes: Attributes, address: str) -> _Decision:
        """Return the decision without selectors if that allows the request, or else with them."""
        whole = attributes.whole
        if whole is not attributes:
            try:
                decision = await self._decide(user, whole, address)
            except ReviewError as error:
                # An authorizer may be able to decide only with the selectors.
                if not error.is_answer:
                    raise
            else:
                if decision.allowed:
                    return decision
        return await self._decide(user, attributes, address)

    async def _decide(self, user: User, attributes: Attributes, address: str) -> _Decision:
        if attributes.characters > _MAX_KEPT_CHARACTERS:
            return await self._review(user, attributes, address)
        return await self._decisions.get(
            (user, attributes), lambda: self._review(user, attributes, address)
        )

    def _is_always_allowed(self, attributes: Attributes) -> bool:
        # A request for a resource has an empty path; configured paths always begin with a slash.
        path = attributes.path
        return path in self._allowed_paths or path.startswith(self._allowed_prefixes)

    async def _review(self, user: User, attributes: Attributes, address: str) -> _Decision:
        """Let the Kubernetes API decide; any answer other than a decision is an error."""
        if not (
            self._unknown.allow(address)
            if user.name == ANONYMOUS.name
            else self._users.allow(user.name)
        ):
            raise TooManyReviewsError
        until = self._clock() + _TTL_SECONDS
        decision = _decision(await self._send(user, attributes), until)
        self._outage.recovered()
        return decision

    async def _send(self, user: User, attributes: Attributes) -> bytes:
        try:
            return await self._reviews.send(review_of(user, attributes))
        except KubernetesError as error:
            hint = (
                "; bind the service account of this server to the ClusterRole system:auth-delegator"
                if error.code in (401, 403)
                else ""
            )
            raise _undecided(f"{error}{hint}", is_answer=False) from error


def _patterns(always_allow_paths: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the paths to match exactly, and the prefixes."""
    whole, prefixes = set(), set()
    for given in always_allow_paths:
        path = "/" + given.removeprefix("/")
        if "*" in path[:-1]:
            raise ConfigurationError(
                f"--authorization-always-allow-paths {given}: a * is allowed only at the end"
            )
        if path.endswith("*"):
            prefixes.add(path[:-1])
        else:
            whole.add(path)
    return frozenset(whole), tuple(prefixes)


def _decision(answer: bytes, until: float) -> _Decision:
    try:
        status = decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _undecided(f"its answer is not a SubjectAccessReview: {error}") from error
    if status.allowed and status.denied:
        raise _undecided("it both allowed and denied")
    if status.evaluation_error and not (status.allowed or status.denied):
        raise _undecided(status.evaluation_error)
    return _Decision(status.allowed, status.reason, until)


def _undecided(why: str, *, is_answer: bool = True) -> ReviewError:
    message = f"the Kubernetes API did not decide whether this is allowed: {why}"
    return ReviewError(message, is_answer=is_answer)


def _forbidden(user: User, attributes: Attributes, reason: str) -> ForbiddenError:
    """Word the error as k8s.io/apiserver does, since people recognize and search for that."""
    who, verb = _quoted(user.name), attributes.verb
    because = f": {reason}" if reason else ""
    if not attributes.resource:
        path = _quoted(attributes.path)
        return ForbiddenError(f"forbidden: User {who} cannot {verb} path {path}{because}")
    resource, group = attributes.resource, attributes.group
    below = f"/{attributes.subresource}" if attributes.subresource else ""
    name = f" {_quoted(attributes.name)}" if attributes.name else ""
    return ForbiddenError(
        f"{resource}.{group}{name} is forbidden: User {who} cannot {verb} resource "
        f"{_quoted(resource + below)} in API group {_quoted(group)} in the namespace "
        f"{_quoted(attributes.namespace)}{because}",
        group=group,
        resource=resource,
    )


def _quoted(text: str) -> str:
    """Quote a text, on one line whatever it contains."""
    return json.dumps(text, ensure_ascii=False)
