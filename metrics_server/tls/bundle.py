"""Renewal of the serving pair and its authority, such that clients can verify it at every moment.

Replicas share a `State`, in one Secret. `next_step` returns the next step, one at a time; the
caller performs it and reads the state again before the next one. An authority is rotated in these
steps:

1. Create the next authority, and store it beside the current one.
2. Publish a bundle of both, and store when that was done.
3. After a grace period, in which every client has loaded the bundle, the next authority becomes
   the current one and signs a serving pair. The previous authority stays in the bundle.
4. Remove the previous authority from the bundle once the last serving pair that it signed has
   expired, since then no replica, however long it was cut off, can still be using it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.pairs import dns_names, is_signed_by, validity

_AUTHORITY_NAME = "gpu-metrics-server-ca"


class Policy(Struct, frozen=True):
    """The names and lifetimes of certificates.

    Attributes:
        names: DNS names that the serving pair must be valid for; the first is its common name.
        authority_lifetime: of an authority.
        serving_lifetime: of a serving pair, which expires with its authority at the latest.
        grace: how long the next authority is published before it signs: longer than any client
            takes to load a new bundle.
    """

    names: Sequence[str]
    authority_lifetime: timedelta = timedelta(days=365)
    serving_lifetime: timedelta = timedelta(days=90)
    grace: timedelta = timedelta(hours=1)


class NextAuthority(Struct, frozen=True):
    """An authority that does not sign yet.

    Attributes:
        pair: its certificate and key.
        published: when it was published to clients; None if it is not.
    """

    pair: KeyPair
    published: datetime | None = None


class PreviousAuthority(Struct, frozen=True):
    """An authority that no longer signs.

    Attributes:
        certificate: its certificate, PEM; the key was deleted.
        until: when the last serving pair that it signed expires.
    """

    certificate: bytes
    until: datetime


class State(Struct, frozen=True):
    """The state that replicas share.

    Attributes:
        authority: the one that signs.
        serving: the pair that every replica serves with.
        next: the authority that will sign next, during a rotation.
        previous: the authority that signed before, while its pairs may still be in use.
    """

    authority: KeyPair
    serving: KeyPair
    next: NextAuthority | None = None
    previous: PreviousAuthority | None = None

    @property
    def bundle(self) -> bytes:
        """The CA bundle for clients, PEM: the certificates of up to three authorities."""
        certificates = [self.authority.certificate]
        if self.next is not None:
            certificates.append(self.next.pair.certificate)
        if self.previous is not None:
            certificates.append(self.previous.certificate)
        return b"".join(certificates)


class Store(Struct, frozen=True):
    """Store this state, unless it has been changed meanwhile."""

    state: State


class Publish(Struct, frozen=True):
    """Publish this bundle to clients, unless it has been changed meanwhile."""

    bundle: bytes


class Rest(Struct, frozen=True):
    """Do nothing until then, unless something is changed from outside."""

    until: datetime


Step: TypeAlias = Store | Publish | Rest


def next_step(state: State | None, published: bytes | None, now: datetime, policy: Policy) -> Step:
    """Return the next step.

    Args:
        state: the shared state; None if there is none yet.
        published: the published bundle; None if it cannot be published.
        now: the current time.
        policy: the names and lifetimes.
    """
    if state is None or validity(state.authority.certificate).end <= now:
        return Store(_replaced(state, now, policy))
    following = state.next
    if (
        following is not None
        and following.published is not None
        and (published is None or following.pair.certificate not in published)
    ):
        # Something removed it from the bundle: the grace period starts again.
        return Store(replace(state, next=NextAuthority(following.pair)))
    if published is not None and published != state.bundle:
        return Publish(state.bundle)
    changed = _renewed(state, published, now, policy)
    return Rest(_next_time(state, policy)) if changed is None else Store(changed)


def _renewed(state: State, published: bytes | None, now: datetime, policy: Policy) -> State | None:
    """Return the state that is due by now, if the bundle is published; None if none is due."""
    following, previous = state.next, state.previous
    if previous is not None and previous.until <= now:
        return replace(state, previous=None)
    if _is_serving_due(state, now, policy):
        return replace(state, serving=_serving(state.authority, now, policy))
    if following is None:
        # One rotation at a time: the bundle has room for one previous authority.
        if previous is None and validity(state.authority.certificate).renewal <= now:
            return replace(state, next=NextAuthority(_authority(now, policy)))
    elif following.published is None:
        if published is not None:
            return replace(state, next=NextAuthority(following.pair, now))
    elif following.published + policy.grace <= now:
        return State(
            authority=following.pair,
            serving=_serving(following.pair, now, policy),
            previous=PreviousAuthority(
                state.authority.certificate, validity(state.serving.certificate).end
            ),
        )
    return None


def _replaced(state: State | None, now: datetime, policy: Policy) -> State:
    """Return a new state, without anything of the old one, which clients can no longer verify."""
    following = None if state is None else state.next
    if following is not None and validity(following.pair.certificate).end > now:
        authority = following.pair
    else:
        authority = _authority(now, policy)
    return State(authority=authority, serving=_serving(authority, now, policy))


def _is_serving_due(state: State, now: datetime, policy: Policy) -> bool:
    certificate = state.serving.certificate
    if not dns_names(certificate).issuperset(policy.names) or not is_signed_by(
        certificate, state.authority.certificate
    ):
        return True
    serving = validity(certificate)
    # Another pair that also expires with its authority would gain nothing.
    return serving.renewal <= now and serving.end < validity(state.authority.certificate).end


def _next_time(state: State, policy: Policy) -> datetime:
    """Return when the next step is due, if nothing is changed from outside."""
    authority, serving = validity(state.authority.certificate), validity(state.serving.certificate)
    times = [authority.end]
    if serving.end < authority.end:
        times.append(serving.renewal)
    if state.previous is not None:
        times.append(state.previous.until)
    elif state.next is None:
        times.append(authority.renewal)
    if state.next is not None and state.next.published is not None:
        times.append(state.next.published + policy.grace)
    return min(times)


def _authority(now: datetime, policy: Policy) -> KeyPair:
    # Two authorities with the same name would be hard to distinguish, for clients and for people.
    name = f"{_AUTHORITY_NAME}-{now:%Y%m%d%H%M%S}"
    return Authority(name, policy.authority_lifetime, now=now).pair


def _serving(authority: KeyPair, now: datetime, policy: Policy) -> KeyPair:
    return Authority.load(authority).issue(policy.names, policy.serving_lifetime, now=now)
