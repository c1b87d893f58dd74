"""How a serving pair and its authority are renewed, without any client that ceases to verify.

A `State` is what replicas share, in one Secret. `next_step` tells what is to be done about it, one
step at a time; whoever does the step looks again before the next one. The steps of a change of
the authority:

1. The next authority is made, and kept beside the present one.
2. The bundle is published with both. When that was done is kept, too.
3. After a grace period, in which every client has taken up the bundle, the next authority becomes
   the present one and signs a serving pair. The bundle still has the authority before.
4. When the last serving pair that it had signed has expired, so that no replica, however long it
   was cut off, can serve with it any more, the authority before leaves the bundle.
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
    """What is wanted.

    Attributes:
        names: DNS names that the serving pair must be valid for; the first is its common name.
        authority_lifetime: of an authority.
        serving_lifetime: of a serving pair; it ends with its authority at the latest.
        grace: how long the next authority is published before it signs: longer than any client
            takes to take up a new bundle.
    """

    names: Sequence[str]
    authority_lifetime: timedelta = timedelta(days=365)
    serving_lifetime: timedelta = timedelta(days=90)
    grace: timedelta = timedelta(hours=1)


class NextAuthority(Struct, frozen=True):
    """An authority that does not sign yet.

    Attributes:
        pair: its certificate and key.
        published: since when clients are given it; None while they are not.
    """

    pair: KeyPair
    published: datetime | None = None


class PreviousAuthority(Struct, frozen=True):
    """An authority that does not sign any more.

    Attributes:
        certificate: its certificate, PEM; the key is gone.
        until: when the last serving pair that it signed expires.
    """

    certificate: bytes
    until: datetime


class State(Struct, frozen=True):
    """What replicas share.

    Attributes:
        authority: the one that signs.
        serving: what every replica serves with.
        next: the authority that is going to sign, during a change.
        previous: the authority that signed before, while pairs of its may be in use.
    """

    authority: KeyPair
    serving: KeyPair
    next: NextAuthority | None = None
    previous: PreviousAuthority | None = None

    @property
    def bundle(self) -> bytes:
        """What clients must trust, PEM: the certificates of up to three authorities."""
        certificates = [self.authority.certificate]
        if self.next is not None:
            certificates.append(self.next.pair.certificate)
        if self.previous is not None:
            certificates.append(self.previous.certificate)
        return b"".join(certificates)


class Store(Struct, frozen=True):
    """Share this state, if nobody else has changed it meanwhile."""

    state: State


class Publish(Struct, frozen=True):
    """Give clients this bundle, if nobody else has changed it meanwhile."""

    bundle: bytes


class Rest(Struct, frozen=True):
    """Nothing is to be done until then, unless somebody changes something."""

    until: datetime


Step: TypeAlias = Store | Publish | Rest


def next_step(state: State | None, published: bytes | None, now: datetime, policy: Policy) -> Step:
    """What is to be done next.

    Args:
        state: what is shared; None if nothing is yet.
        published: the bundle that clients are given; None if there is no place to publish it.
        now: the present.
        policy: what is wanted.
    """
    if state is None or validity(state.authority.certificate).end <= now:
        return Store(_replaced(state, now, policy))
    following = state.next
    if (
        following is not None
        and following.published is not None
        and (published is None or following.pair.certificate not in published)
    ):
        # Somebody took it away from clients: the grace period begins anew.
        return Store(replace(state, next=NextAuthority(following.pair)))
    if published is not None and published != state.bundle:
        return Publish(state.bundle)
    changed = _renewed(state, published, now, policy)
    return Rest(_next_time(state, policy)) if changed is None else Store(changed)


def _renewed(state: State, published: bytes | None, now: datetime, policy: Policy) -> State | None:
    """The state that is due by now, where the bundle is published; None while none is."""
    following, previous = state.next, state.previous
    if previous is not None and previous.until <= now:
        return replace(state, previous=None)
    if _is_serving_due(state, now, policy):
        return replace(state, serving=_serving(state.authority, now, policy))
    if following is None:
        # One change at a time: the bundle has room for one authority before.
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
    """A state without anything of the one before, which no client verifies any more."""
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
    # Another pair that ends with its authority, too, would be no gain.
    return serving.renewal <= now and serving.end < validity(state.authority.certificate).end


def _next_time(state: State, policy: Policy) -> datetime:
    """When `next_step` has something to do again, if nobody changes anything."""
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
    # Two authorities of one name would be hard to tell apart, for clients and for people.
    name = f"{_AUTHORITY_NAME}-{now:%Y%m%d%H%M%S}"
    return Authority(name, policy.authority_lifetime, now=now).pair


def _serving(authority: KeyPair, now: datetime, policy: Policy) -> KeyPair:
    return Authority.load(authority).issue(policy.names, policy.serving_lifetime, now=now)
