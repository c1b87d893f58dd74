"""Whether a user may do what a request asks for: the Kubernetes API decides."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec
import structlog
from msgspec import Struct

from metrics_server.auth.identity import ANONYMOUS, MASTERS, User
from metrics_server.auth.request_info import Attributes
from metrics_server.auth.reviewing import REVIEW_SECONDS, Reviewing, unknown_callers
from metrics_server.auth.selectors import Requirement
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
"""The default of --authorization-always-allow-paths, as servers built on k8s.io/apiserver have."""

_PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
# As long as these servers keep a decision, be it an allow or a denial.
_TTL_SECONDS = 10
_MAX_KEPT_BYTES = 16 * 1024 * 1024
# Of one user, in as many namespaces as the largest clusters have; in all as client-go has it.
_USERS = (Rate(100, 400), Rate(200, 800))
# Anyone can ask for anything: what reviews it must leave connections for the watches.
_MAX_UNDER_WAY = 32
# What is longer is no metric and no path that is served: it is reviewed, but not kept.
_MAX_KEPT_CHARACTERS = 1024

log = structlog.stdlib.get_logger(__name__)


class SelectorAttributes(Struct, frozen=True):
    """authorization.k8s.io/v1 FieldSelectorAttributes or LabelSelectorAttributes."""

    requirements: tuple[Requirement, ...]


class ResourceAttributes(Struct, frozen=True, rename="camel", omit_defaults=True):
    """authorization.k8s.io/v1 ResourceAttributes."""

    namespace: str
    verb: str
    group: str
    version: str
    resource: str
    name: str = ""
    field_selector: SelectorAttributes | None = None
    label_selector: SelectorAttributes | None = None


class NonResourceAttributes(Struct, frozen=True):
    """authorization.k8s.io/v1 NonResourceAttributes."""

    path: str
    verb: str


class SubjectAccessReviewSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """authorization.k8s.io/v1 SubjectAccessReviewSpec: who, and one of the two forms of what."""

    user: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = {}
    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None


class SubjectAccessReview(Struct, frozen=True, rename="camel", kw_only=True):
    """authorization.k8s.io/v1 SubjectAccessReview, as it is sent."""

    api_version: str = "authorization.k8s.io/v1"
    kind: str = "SubjectAccessReview"
    spec: SubjectAccessReviewSpec


class _ReviewStatus(Struct, frozen=True, rename="camel"):
    allowed: bool
    denied: bool = False
    reason: str = ""
    evaluation_error: str = ""


class _Reviewed(Struct, frozen=True):
    kind: Literal["SubjectAccessReview"]
    status: _ReviewStatus


class _Decision(Struct, frozen=True):
    allowed: bool
    reason: str


_decoder = msgspec.json.Decoder(_Reviewed)


class Authorizer:
    """Decides as servers built on k8s.io/apiserver do.

    The group system:masters may do everything, and everyone may read the paths that are always
    allowed. On all else the Kubernetes API is asked, by a SubjectAccessReview. Its decision holds
    for 10 s for this very user and request; those who ask for the same meanwhile share it.

    Args:
        client: asks the Kubernetes API.
        always_allow_paths: paths that anyone may ask for, without a slash at the end; a path that
            ends in * stands for all that begin so.
        timeout: how long a review may take with all its attempts, in seconds.
        clock: seconds that never run backwards.

    Raises:
        ConfigurationError: a path has a * elsewhere than at its end.
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
        self._unknown = unknown_callers(clock)
        each, total = _USERS
        self._users = Rates(each=each, total=total, clock=clock)
        self._outage = Outage(log, "access reviews fail", "access reviews work again")

    async def authorize(self, user: User, attributes: Attributes, address: str = "") -> None:
        """Return if the user may do that.

        Args:
            user: who asks.
            attributes: what for.
            address: where from; to it the reviews are charged of a user who is anonymous.

        Raises:
            ForbiddenError: the user may not.
            TooManyReviewsError: too many reviews were needed because of the user.
            ReviewError: the Kubernetes API did not decide.
        """
        if MASTERS in user.groups or self._is_always_allowed(attributes):
            return
        if attributes.characters > _MAX_KEPT_CHARACTERS:
            decision = await self._review(user, attributes, address)
        else:
            decision = await self._decisions.get(
                (user, attributes), lambda: self._review(user, attributes, address)
            )
        if not decision.allowed:
            raise _forbidden(user, attributes, decision.reason)

    def _is_always_allowed(self, attributes: Attributes) -> bool:
        # A resource has no path, and what is configured begins with a slash always.
        path = attributes.path
        return path in self._allowed_paths or path.startswith(self._allowed_prefixes)

    async def _review(self, user: User, attributes: Attributes, address: str) -> _Decision:
        """Ask the Kubernetes API; whatever it answers but a decision is an error."""
        if not (
            self._unknown.allow(address)
            if user.name == ANONYMOUS.name
            else self._users.allow(user.name)
        ):
            raise TooManyReviewsError
        try:
            decision = _decision(await self._ask(user, attributes))
        except ReviewError as error:
            self._outage.failed(error)
            raise
        self._outage.recovered()
        return decision

    async def _ask(self, user: User, attributes: Attributes) -> bytes:
        review = SubjectAccessReview(spec=_spec(user, attributes))
        try:
            return await self._reviews.send(review)
        except KubernetesError as error:
            hint = (
                "; bind the service account of this server to the ClusterRole system:auth-delegator"
                if error.code in (401, 403)
                else ""
            )
            raise _undecided(f"{error}{hint}") from error


def _patterns(always_allow_paths: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """The paths to match whole, and those to match the beginning of."""
    whole, prefixes = set(), set()
    for given in always_allow_paths:
        path = "/" + given.removeprefix("/")
        if "*" in path[:-1]:
            raise ConfigurationError(
                f"--authorization-always-allow-paths {given}: a * can stand at the end only"
            )
        if path.endswith("*"):
            prefixes.add(path[:-1])
        else:
            whole.add(path)
    return frozenset(whole), tuple(prefixes)


def _spec(user: User, attributes: Attributes) -> SubjectAccessReviewSpec:
    resource = ResourceAttributes(
        attributes.namespace,
        attributes.verb,
        attributes.group,
        attributes.version,
        attributes.resource,
        attributes.name,
        SelectorAttributes(attributes.fields) if attributes.fields else None,
        SelectorAttributes(attributes.labels) if attributes.labels else None,
    )
    path = NonResourceAttributes(attributes.path, attributes.verb)
    return SubjectAccessReviewSpec(
        user=user.name,
        uid=user.uid,
        groups=user.groups,
        extra=dict(user.extra),
        resource_attributes=resource if attributes.resource else None,
        non_resource_attributes=None if attributes.resource else path,
    )


def _decision(answer: bytes) -> _Decision:
    try:
        status = _decoder.decode(answer).status
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _undecided(f"its answer is no SubjectAccessReview: {error}") from error
    if status.allowed and status.denied:
        raise _undecided("it both allowed and denied")
    if status.evaluation_error and not (status.allowed or status.denied):
        raise _undecided(status.evaluation_error)
    return _Decision(status.allowed, status.reason)


def _undecided(why: str) -> ReviewError:
    return ReviewError(f"the Kubernetes API did not decide whether this is allowed: {why}")


def _forbidden(user: User, attributes: Attributes, reason: str) -> ForbiddenError:
    """In the words of k8s.io/apiserver, which people know and look for."""
    who, verb = _quoted(user.name), attributes.verb
    because = f": {reason}" if reason else ""
    if not attributes.resource:
        path = _quoted(attributes.path)
        return ForbiddenError(f"forbidden: User {who} cannot {verb} path {path}{because}")
    resource, group = attributes.resource, attributes.group
    return ForbiddenError(
        f"{resource}.{group} is forbidden: User {who} cannot {verb} resource {_quoted(resource)} "
        f"in API group {_quoted(group)} in the namespace {_quoted(attributes.namespace)}{because}",
        group=group,
        resource=resource,
    )


def _quoted(text: str) -> str:
    """In quotes, and on one line whatever is in it."""
    return json.dumps(text, ensure_ascii=False)
