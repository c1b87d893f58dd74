"""Pairs and authorities that are replaced, and the Secret with them."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from metrics_server.tls.authority import Authority
from metrics_server.tls.bundle import NextAuthority, Place, Policy, Rest, Store, is_own, next_step
from metrics_server.tls.pairs import validity
from metrics_server.tls.secret import from_data, to_data
from metrics_server.tls.self_managed import names_of
from tests.support.bundles import CLIENTS_LAG, POLICY, YEAR, World, stored, verifies


def test_a_late_replica_does_not_skip_the_grace_period() -> None:
    """The grace period counts even when the next authority would sign anyway."""
    world = World(others=[Place(None)])
    world.settle()
    first = world.shared()
    world.now = validity(first.authority.certificate).end - timedelta(days=2)
    world.rest()
    assert world.shared().authority == first.authority
    world.settle()
    assert world.shared().authority != first.authority
    world.check()


def test_own_bundles_are_recognized() -> None:
    """A bundle is the server's own if all of its authorities are, current or not."""
    world = World()
    world.settle()
    world.until_next_authority()
    mine = world.shared().bundle
    assert mine.count(b"BEGIN") == 2
    assert is_own(mine)
    for name in ("gpu-metrics-server-ca", "KEDA", "x-gpu-metrics-server-ca-20260101000000"):
        assert not is_own(Authority(name).bundle)
        assert not is_own(mine + Authority(name).bundle)
    for text in (b"", b"x", b"-----BEGIN CERTIFICATE-----"):
        assert not is_own(text)


def test_after_years_of_rest_everything_is_created_again() -> None:
    """After everything has expired, replicas create it all again, as on the first day."""
    world = World()
    world.settle()
    first = world.shared()
    world.advance(3 * YEAR)
    world.settle()
    assert world.authorities() == 1
    assert world.shared().authority != first.authority
    world.advance(CLIENTS_LAG)
    world.check()


def test_a_next_authority_is_used_when_the_present_one_has_expired() -> None:
    """An authority that clients may know is better than one they cannot."""
    world = World()
    world.settle()
    world.until_next_authority()
    following = world.shared().next
    assert following is not None
    world.now = validity(world.shared().authority.certificate).end
    world.settle()
    assert world.shared().authority == following.pair
    world.advance(CLIENTS_LAG)
    world.check()


def test_a_pair_for_other_names_is_replaced() -> None:
    """A renamed Service gets a pair for its new name, from the same authority."""
    world = World()
    world.settle()
    state = world.shared()
    policy = Policy(names_of("renamed", "gpu-monitoring"))
    step = next_step(state, [Place(state.bundle)], world.now, policy)
    assert isinstance(step, Store)
    assert step.state.authority == state.authority
    assert step.state.serving != state.serving
    assert isinstance(next_step(step.state, [Place(state.bundle)], world.now, policy), Rest)


def test_a_pair_of_another_authority_is_replaced() -> None:
    """A pair that no client would accept is soon replaced."""
    world = World()
    world.settle()
    state = replace(world.shared(), serving=Authority("stranger").issue(POLICY.names))
    step = next_step(state, [Place(state.bundle)], world.now, POLICY)
    assert isinstance(step, Store)
    assert verifies(step.state.serving.certificate, state.bundle, world.now)


def test_a_secret_holds_every_state() -> None:
    """Every state in a change is read as it was written, to the second."""
    world = World()
    world.settle()
    world.until_next_authority()
    world.rest()
    world.settle()
    states = stored(world)
    assert any(state.next is not None and state.next.published is None for state in states)
    assert any(state.previous is not None for state in states)
    for state in states:
        assert from_data(to_data(state)) == state


@pytest.mark.parametrize("missing", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
def test_a_secret_with_a_part_missing_is_reported(missing: str) -> None:
    """An incomplete Secret may be someone else's: it is an error that names the missing part."""
    world = World()
    world.settle()
    data = to_data(world.shared())
    del data[missing]
    with pytest.raises(ValueError, match=f"it has no {missing}"):
        from_data(data)


def test_a_secret_whose_parts_do_not_match_is_reported() -> None:
    """A key that does not match its certificate is an error, before anything is served with it."""
    world = World()
    world.settle()
    other = Authority("other")
    state = world.shared()
    for wrong in (
        replace(state, authority=replace(state.authority, key=other.pair.key)),
        replace(state, serving=replace(state.serving, key=other.pair.key)),
        replace(state, next=NextAuthority(replace(other.pair, key=state.authority.key))),
    ):
        with pytest.raises(ValueError, match="key"):
            from_data(to_data(wrong))


def test_an_empty_secret_holds_nothing() -> None:
    """A Secret without any of the keys, such as an empty one made beforehand, has no state."""
    assert from_data({}) is None
    assert from_data({"tls.crt": b"", "tls.key": b""}) is None
    assert from_data({"note": b"of somebody"}) is None
