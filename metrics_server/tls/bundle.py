"""Renewal of the serving pair and its authority, such that clients can verify it at every moment.

Replicas share a `State`, in one Secret. `next_step` returns the next step, one at a time; the
caller performs it and reads the state again before the next one. An authority is rotated in these
steps:

1. Create the next authority, and store it beside the current one.
2. Publish a bundle of both in every place that can be written, and store when that was done.
3. After a grace period, in which every client has loaded the bundle, the next authority becomes
   the current one and signs a serving pair. The previous authority stays in the bundle. While
   there is a place in which the bundle cannot be kept, this step waits, but not until the current
   authority expires: clients of the other places would then lose it without an overlap.
4. Remove the previous authority from the bundle once the last serving pair that it signed has
   expired, since then no replica, however long it was cut off, can still be using it.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec import Struct
from msgspec.structs import replace

from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.pairs import dns_names, is_signed_by, validity

_AUTHORITY_NAME = "gpu-metrics-server-ca"
# The common name includes the time of creation.
_OWN_NAME = re.compile(rf"{_AUTHORITY_NAME}-[0-9]{{14}}")


class Policy(Struct, frozen=True):
    """The names and lifetimes of certificates.

    Attributes:
        names: DNS names that the serving pair must be valid for; the first is its common name.
        authority_lifetime: of an authority.
        serving_lifetime: of a serving pair, which expires with its authority at the latest.
        grace: how long the next authority is published before it signs: longer than any client
            takes to load a new bundle.
        reserve: how long before an authority expires the next one signs at the latest, even if
            there is a place in which it could not be published.
    """

    names: Sequence[str]
    authority_lifetime: timedelta = timedelta(days=365)
    serving_lifetime: timedelta = timedelta(days=90)
    grace: timedelta = timedelta(hours=1)
    reserve: timedelta = timedelta(days=30)


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


class Place(Struct, frozen=True):
    """A place from which clients read the CA bundle.

    Attributes:
        bundle: the bundle in it, PEM; None if it cannot be read or written now.
        is_reliable: whether it is known to keep what we write; not if the last write failed, or
            another writer keeps replacing it.
    """

    bundle: bytes | None
    is_reliable: bool = True


class Store(Struct, frozen=True):
    """Store this state, unless it has been changed meanwhile."""

    state: State


class Publish(Struct, frozen=True):
    """Publish this bundle in each place that has another one, unless it has changed meanwhile."""

    bundle: bytes


class Rest(Struct, frozen=True):
    """Do nothing until then, unless something is changed from outside."""

    until: datetime


Step: TypeAlias = Store | Publish | Rest


def next_step(state: State | None, places: Sequence[Place], now: datetime, policy: Policy) -> Step:
    """Return the next step.

    Args:
        state: the shared state; None if there is none yet.
        places: the places where the bundle belongs; those that do not exist are left out.
        now: the current time.
        policy: the names and lifetimes.
    """
    if state is None or validity(state.authority.certificate).end <= now:
        return Store(_replaced(state, now, policy))
    following = state.next
    if (
        following is not None
        and following.published is not None
        and not all(following.pair.certificate in bundle for bundle in _relied_on(places))
    ):
        # Something removed it from a bundle: the grace period starts again.
        return Store(replace(state, next=NextAuthority(following.pair)))
    if any(place.bundle not in (None, state.bundle) for place in places):
        return Publish(state.bundle)
    is_known = len(_relied_on(places)) == len(places)
    changed = _renewed(state, now, policy, is_known=is_known)
    if changed is not None:
        return Store(changed)
    return Rest(_next_time(state, policy, is_known=is_known))


def is_own(bundle: bytes) -> bool:
    """Whether a bundle has only this server's authorities, from any replica and any time."""
    try:
        certificates = x509.load_pem_x509_certificates(bundle)
    except ValueError:
        return False
    return all(map(_is_own, certificates))


def _is_own(certificate: x509.Certificate) -> bool:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return any(_OWN_NAME.fullmatch(str(name.value)) for name in names)


def _relied_on(places: Sequence[Place]) -> list[bytes]:
    """Return the bundles that clients keep reading until we replace them."""
    return [place.bundle for place in places if place.bundle is not None and place.is_reliable]


def _renewed(state: State, now: datetime, policy: Policy, *, is_known: bool) -> State | None:
    """Return the state that is due by now; None if none is due.

    The bundle of the given state is published wherever that is possible.
    """
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
        return replace(state, next=NextAuthority(following.pair, now))
    elif _signing_time(state, following.published, policy, is_known=is_known) <= now:
        return State(
            authority=following.pair,
            serving=_serving(following.pair, now, policy),
            previous=PreviousAuthority(
                state.authority.certificate, validity(state.serving.certificate).end
            ),
        )
    return None


def _signing_time(state: State, published: datetime, policy: Policy, *, is_known: bool) -> datetime:
    """Return when the next authority signs.

    Args:
        state: the shared state.
        published: when the next authority was published.
        policy: the names and lifetimes.
        is_known: whether it is published in every place.
    """
    after_grace = published + policy.grace
    if is_known:
        return after_grace
    return max(after_grace, validity(state.authority.certificate).end - policy.reserve)


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


def _next_time(state: State, policy: Policy, *, is_known: bool) -> datetime:
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
        times.append(_signing_time(state, state.next.published, policy, is_known=is_known))
    return min(times)


def _authority(now: datetime, policy: Policy) -> KeyPair:
    # Two authorities with the same name would be hard to distinguish, for clients and for people.
    name = f"{_AUTHORITY_NAME}-{now:%Y%m%d%H%M%S}"
    return Authority(name, policy.authority_lifetime, now=now).pair


def _serving(authority: KeyPair, now: datetime, policy: Policy) -> KeyPair:
    return Authority.load(authority).issue(policy.names, policy.serving_lifetime, now=now)
