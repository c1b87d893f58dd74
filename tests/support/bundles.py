"""A server's certificates and its clients over the years."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, VerificationError
from cryptography.x509.verification import Store as TrustStore

from metrics_server.tls.bundle import Place, Policy, Publish, Rest, State, Step, Store, next_step
from metrics_server.tls.secret import from_data, to_data
from metrics_server.tls.self_managed import names_of

NAME = "gpu-metrics-server.gpu-monitoring.svc"
POLICY = Policy(names_of("gpu-metrics-server", "gpu-monitoring"))
START = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
CLIENTS_LAG = timedelta(minutes=30)


def verifies(certificate: bytes, bundle: bytes, now: datetime) -> bool:
    """Whether a client that trusts a bundle accepts a certificate for the Service's name."""
    return any(begin <= now <= end for begin, end in _accepted(certificate, bundle))


@cache
def _accepted(certificate: bytes, bundle: bytes) -> list[tuple[datetime, datetime]]:
    """For each issuer, when a client starts and stops accepting it, verified at both ends."""
    leaf = x509.load_pem_x509_certificate(certificate)
    found = []
    for issuer in x509.load_pem_x509_certificates(bundle):
        begin = max(leaf.not_valid_before_utc, issuer.not_valid_before_utc)
        end = min(leaf.not_valid_after_utc, issuer.not_valid_after_utc)
        if _accepts(issuer, leaf, begin) and _accepts(issuer, leaf, end):
            found.append((begin, end))
    return found


def _accepts(issuer: x509.Certificate, leaf: x509.Certificate, now: datetime) -> bool:
    policy = PolicyBuilder().store(TrustStore([issuer])).time(now)
    try:
        policy.build_server_verifier(x509.DNSName(NAME)).verify(leaf, [])
    except VerificationError:
        return False
    return True


class World:
    """The shared state, the published bundle, and the time.

    Args:
        replicas: how many servers there are.
        published: the bundle at first; None while there is no APIService.
        others: other places, to which nothing is published.

    Attributes:
        served: the certificate that each replica serves.
        steps: the steps taken.
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
                self.served[replica] = self.shared().serving.certificate
            step = next_step(self.state, self.places(), self.now, POLICY)
            self.steps.append(step)
            match step:
                case Store(state):
                    # Through the Secret, as in production.
                    self.state = from_data(to_data(state))
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
        """Settle, and let time pass until something is due."""
        self.now = self.settle(replica)

    def check(self) -> None:
        """Check that every client accepts every replica's certificate."""
        held = [bundle for until, bundle in self._replaced if until > self.now - CLIENTS_LAG]
        for bundle in (*held, self.published or b""):
            for certificate in self.served:
                assert verifies(certificate, bundle, self.now)

    def shared(self) -> State:
        """The shared state, which must exist."""
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


def stored(world: World) -> list[State]:
    """The stored states, in order."""
    return [step.state for step in world.steps if isinstance(step, Store)]
