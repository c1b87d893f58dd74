import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, VerificationError
from cryptography.x509.verification import Store as TrustStore
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from metrics_server.tls.authority import Authority
from metrics_server.tls.bundle import (
    NextAuthority,
    Place,
    Policy,
    Publish,
    Rest,
    State,
    Step,
    Store,
    is_own,
    next_step,
)
from metrics_server.tls.pairs import validity
from metrics_server.tls.secret import from_data, to_data
from metrics_server.tls.self_managed import names_of

NAME = "gpu-metrics-server.gpu-monitoring.svc"
POLICY = Policy(names_of("gpu-metrics-server", "gpu-monitoring"))
START = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
CLIENTS_LAG = timedelta(minutes=30)


def verifies(certificate: bytes, bundle: bytes, now: datetime) -> bool:
    """Whether a client that trusts a bundle accepts a certificate for the Service's name."""
    store = TrustStore(x509.load_pem_x509_certificates(bundle))
    verifier = PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(NAME))
    try:
        verifier.verify(x509.load_pem_x509_certificate(certificate), [])
    except VerificationError:
        return False
    return True


class World:
    """What is shared, what is published, and the time.

    Args:
        replicas: how many servers there are.
        published: the bundle at first; None while there is no APIService.
        others: other places, in which nothing is published.

    Attributes:
        served: what each replica serves with.
        steps: what was done.
    """

    def __init__(
        self, replicas: int = 1, published: bytes | None = b"", others: Sequence[Place] = ()
    ) -> None:
        self.now = START
        self.others = others
        self.state: State | None = None
        self.published = published
        self.served = [b""] * replicas
        self.seen = [START] * replicas
        self.steps: list[Step] = []
        self._replaced: list[tuple[datetime, bytes]] = []

    def settle(self, replica: int = 0) -> datetime:
        """Do everything that is due, as one replica, and return when to check again."""
        for _ in range(10):
            if self.state is not None:
                # Through the Secret, as in life.
                self.state = from_data(to_data(self.state))
                self.served[replica] = self.shared().serving.certificate
            step = next_step(self.state, self.places(), self.now, POLICY)
            self.steps.append(step)
            match step:
                case Store(state):
                    self.state = state
                case Publish(bundle):
                    assert self.published is not None
                    if self.published:
                        self._replaced.append((self.now, self.published))
                    self.published = bundle
                case Rest(until):
                    assert until > self.now
                    self.seen[replica] = self.now
                    return until
        raise AssertionError(f"it never comes to rest: {self.steps[-10:]}")

    def places(self) -> list[Place]:
        """Where the bundle belongs."""
        ours = [] if self.published is None else [Place(self.published)]
        return [*ours, *self.others]

    def advance(self, time: timedelta) -> None:
        """Let time pass."""
        self.now += time

    def rest(self, replica: int = 0) -> None:
        """Settle, and let time pass until there is something to do."""
        self.now = self.settle(replica)

    def check(self) -> None:
        """Make sure that every replica verifies at every client."""
        held = [bundle for until, bundle in self._replaced if until > self.now - CLIENTS_LAG]
        for bundle in (*held, self.published or b""):
            for certificate in self.served:
                assert verifies(certificate, bundle, self.now)

    def shared(self) -> State:
        """What is shared, of which there must be something."""
        assert self.state is not None
        return self.state

    def authorities(self) -> int:
        """How many authorities are published."""
        return (self.published or b"").count(b"BEGIN CERTIFICATE")

    def until_next_authority(self) -> None:
        """Let time pass until a next authority is published."""
        until = self.settle()
        while self.shared().next is None:
            self.now = until
            until = self.settle()


turns = st.tuples(st.integers(0, 2), st.integers(1, 10), st.integers(1, 90))


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.lists(turns, min_size=20, max_size=60))
def test_what_is_served_verifies_through_the_years(drawn: list[tuple[int, int, int]]) -> None:
    """At every moment every replica's pair verifies under the bundle that clients have.

    Three replicas look after it, each in its own time and up to a month late, and serve with what
    they took up last; clients have a bundle that may be half an hour old.
    """
    world = World(replicas=3)
    for replica in range(3):
        world.settle(replica)
    world.check()
    for chosen, days, minutes in itertools.cycle(drawn):
        if world.now > START + 2 * YEAR:
            break
        # During a change of the authority every hour counts.
        changing = world.shared().next is not None
        world.advance(timedelta(minutes=minutes) if changing else timedelta(days=days))
        world.check()
        late = [one for one in range(3) if world.now - world.seen[one] > timedelta(days=19)]
        for replica in {chosen, *late}:
            world.settle(replica)
            world.check()
    authorities = {state.authority for state in _stored(world)}
    assert len(authorities) >= 3


def _stored(world: World) -> list[State]:
    return [step.state for step in world.steps if isinstance(step, Store)]


def test_a_change_of_the_authority_has_four_steps() -> None:
    """Two thirds on, another is made; published; signs after the grace period; the first leaves."""
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
    """Not before, and by the same authority."""
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
    """Whoever applies a manifest with an old bundle does not make the next authority sign early."""
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
    """Whatever was there, clients are given ours."""
    world = World(published=published)
    world.settle()
    assert world.published == world.shared().bundle


def test_without_any_place_the_authority_still_changes_in_time() -> None:
    """Clients that copy both from the Secret have as long as all others."""
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
    """Its clients can use the old bundle nearly until its end; the others never notice."""
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
    """Otherwise the other writer would keep the next authority from ever signing."""
    world = World()
    world.settle()
    world.until_next_authority()
    state = world.shared()
    world.others = [Place(b"theirs", is_reliable=False)]
    assert next_step(state, world.places(), world.now, POLICY) == Publish(state.bundle)
    world.others = [Place(None, is_reliable=False)]
    assert isinstance(next_step(state, world.places(), world.now, POLICY), Rest)


def test_a_place_that_stops_lagging_gets_its_grace_period() -> None:
    """Its clients do not have the next authority yet, however long the others have had it."""
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


def test_a_late_replica_does_not_skip_the_grace_period() -> None:
    """Even if the time has come in which the next authority would sign in any case."""
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
    """Those of another replica, or of another time, are no strangers'."""
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
    """Replicas that come back after everything has expired begin as on the first day."""
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
    """What clients may know already is better than what they cannot."""
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
    """A Service that was renamed gets a pair of its new name, from the same authority."""
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
    """What no client would verify is not served with for long."""
    world = World()
    world.settle()
    state = replace(world.shared(), serving=Authority("stranger").issue(POLICY.names))
    step = next_step(state, [Place(state.bundle)], world.now, POLICY)
    assert isinstance(step, Store)
    assert verifies(step.state.serving.certificate, state.bundle, world.now)


def test_a_secret_holds_every_state() -> None:
    """What is read is what was written, at each stage of a change, to the second."""
    world = World()
    world.settle()
    world.until_next_authority()
    world.rest()
    world.settle()
    states = _stored(world)
    assert any(state.next is not None and state.next.published is None for state in states)
    assert any(state.previous is not None for state in states)
    for state in states:
        assert from_data(to_data(state)) == state


@pytest.mark.parametrize("missing", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
def test_a_secret_with_a_part_missing_is_reported(missing: str) -> None:
    """What was begun by somebody else is not taken for nothing."""
    world = World()
    world.settle()
    data = to_data(world.shared())
    del data[missing]
    with pytest.raises(ValueError, match=f"it has no {missing}"):
        from_data(data)


def test_a_secret_whose_parts_do_not_match_is_reported() -> None:
    """A key of another certificate is found before anybody is served with it."""
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
    """A Secret that was made beforehand, so that no right to create is needed, is filled."""
    assert from_data({}) is None
    assert from_data({"tls.crt": b"", "tls.key": b""}) is None
    assert from_data({"note": b"of somebody"}) is None
