"""A CA and its bundle over the years."""

import itertools
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from metrics_server.tls.bundle import (
    NextAuthority,
    Place,
    Publish,
    Rest,
    State,
    Store,
    next_step,
)
from metrics_server.tls.pairs import validity
from tests.support.bundles import CLIENTS_LAG, POLICY, START, YEAR, World, stored, verifies

turns = st.tuples(st.integers(0, 2), st.integers(1, 10), st.integers(1, 90))


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.lists(turns, min_size=20, max_size=60))
def test_what_is_served_verifies_through_the_years(drawn: list[tuple[int, int, int]]) -> None:
    """At all times, every replica's pair verifies with the clients' bundle.

    Each of three replicas checks at its own times, up to a month late, and serves its last pair;
    a client's bundle may be half an hour old.
    """
    world = World(replicas=3)
    for replica in range(3):
        world.settle(replica)
    world.check()
    for chosen, days, minutes in itertools.cycle(drawn):
        if world.now > START + 2 * YEAR:
            break
        # While the authority changes, every hour counts.
        changing = world.shared().next is not None
        world.advance(timedelta(minutes=minutes) if changing else timedelta(days=days))
        world.check()
        late = [one for one in range(3) if world.now - world.seen[one] > timedelta(days=19)]
        for replica in {chosen, *late}:
            world.settle(replica)
            world.check()
    authorities = {state.authority for state in stored(world)}
    assert len(authorities) >= 3


def test_a_change_of_the_authority_has_four_steps() -> None:
    """At 2/3 of its life a next one is made and published; it signs after the grace period."""
    world = World()
    world.settle()
    first = world.shared()
    assert world.published == first.bundle
    assert world.authorities() == 1
    world.until_next_authority()
    life = validity(first.authority.certificate)
    assert world.now - life.renewal < timedelta(days=1)
    following = world.shared().next
    assert following is not None
    assert following.published == world.now
    assert world.authorities() == 2
    assert world.shared().authority == first.authority
    last_of_first = world.shared().serving
    world.advance(POLICY.grace - timedelta(seconds=1))
    world.settle()
    assert world.shared().authority == first.authority
    world.advance(timedelta(seconds=1))
    world.settle()
    changed = world.shared()
    assert changed.authority == following.pair
    assert changed.serving != last_of_first
    assert world.authorities() == 2
    end = validity(last_of_first.certificate).end
    world.now = end - timedelta(seconds=1)
    world.settle()
    assert first.authority.certificate in (world.published or b"")
    world.now = end
    world.settle()
    assert world.published == changed.authority.certificate


def test_a_pair_is_renewed_at_two_thirds_of_its_life() -> None:
    """No earlier, and by the same authority."""
    world = World()
    world.settle()
    first = world.shared()
    renewal = validity(first.serving.certificate).renewal
    assert renewal - START < POLICY.serving_lifetime * 2 / 3
    assert world.settle() == renewal
    world.now = renewal - timedelta(seconds=1)
    world.settle()
    assert world.shared() == first
    world.now = renewal
    world.settle()
    assert world.shared().serving != first.serving
    assert world.shared().authority == first.authority


def test_the_grace_period_begins_again_when_the_bundle_was_removed() -> None:
    """Applying a manifest with an old bundle does not make the next authority sign early."""
    world = World()
    world.settle()
    world.until_next_authority()
    before = world.shared()
    world.advance(POLICY.grace)
    world.published = before.authority.certificate
    world.settle()
    assert world.shared().authority == before.authority
    assert world.published == world.shared().bundle
    following = world.shared().next
    assert following is not None
    assert following.published == world.now
    world.advance(POLICY.grace)
    world.settle()
    assert world.shared().authority == following.pair


@pytest.mark.parametrize("published", [b"", b"somebody else's", b"-----BEGIN CERTIFICATE-----"])
def test_another_bundle_is_replaced(published: bytes) -> None:
    """Any other bundle is replaced by the server's."""
    world = World(published=published)
    world.settle()
    assert world.published == world.shared().bundle


def test_without_any_place_the_authority_still_changes_in_time() -> None:
    """Clients that copy both from the Secret have as much time as others."""
    world = World(published=None)
    world.settle()
    first = world.shared()
    life = validity(first.authority.certificate)
    world.until_next_authority()
    assert timedelta() <= world.now - life.renewal < timedelta(days=1)
    overlapping = world.shared().bundle
    world.rest()
    assert world.shared().authority == first.authority
    world.settle()
    assert world.now - life.renewal < timedelta(days=1)
    assert world.shared().authority != first.authority
    assert verifies(world.served[0], overlapping, world.now)


@pytest.mark.parametrize("other", [Place(None), Place(None, is_reliable=False)])
def test_a_place_that_lags_delays_the_change_but_not_for_ever(other: Place) -> None:
    """The place's clients can use the old bundle nearly until it ends; others notice nothing."""
    world = World(others=[other])
    world.settle()
    first = world.shared()
    end = validity(first.authority.certificate).end
    while world.shared().authority == first.authority:
        assert verifies(world.served[0], first.bundle, world.now)
        world.rest()
        world.check()
        world.settle()
    assert world.now == end - POLICY.reserve
    world.advance(CLIENTS_LAG)
    world.check()
    assert len(world.steps) < 40, "a place that lags is no reason to hurry"


def test_a_contested_place_is_written_and_does_not_begin_the_grace_period_again() -> None:
    """Otherwise the other writer could stop the next authority from ever signing."""
    world = World()
    world.settle()
    world.until_next_authority()
    state = world.shared()
    world.others = [Place(b"theirs", is_reliable=False)]
    assert next_step(state, world.places(), world.now, POLICY) == Publish(state.bundle)
    world.others = [Place(None, is_reliable=False)]
    assert isinstance(next_step(state, world.places(), world.now, POLICY), Rest)


def test_a_place_that_stops_lagging_gets_its_grace_period() -> None:
    """Its clients lack the next authority, however long others have had it."""
    world = World(others=[Place(None)])
    world.settle()
    world.until_next_authority()
    before = world.shared().authority
    world.advance(timedelta(days=10))
    world.others = [Place(before.certificate)]
    step = next_step(world.shared(), world.places(), world.now, POLICY)
    assert step == Store(replace(world.shared(), next=NextAuthority(_next(world.shared()).pair)))


def _next(state: State) -> NextAuthority:
    assert state.next is not None
    return state.next
